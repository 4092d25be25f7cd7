// An open file descriptor that is closed once. Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_FILE_DESCRIPTOR_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_FILE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace nextword {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    other.Close();
    return *this;
  }
  ~FileDescriptor() { Close(); }

  int get() const { return fd_; }  // -1: none.
  bool is_open() const { return fd_ >= 0; }

  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_FILE_DESCRIPTOR_H_

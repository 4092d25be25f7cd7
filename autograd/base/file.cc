#include "autograd/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"

namespace nextword {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

// Writes all of `bytes` at `offset`, or at the file's position when negative.
absl::Status WriteAll(int fd, const std::string& path, absl::string_view bytes,
                      off_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = offset < 0
                          ? write(fd, bytes.data(), bytes.size())
                          : pwrite(fd, bytes.data(), bytes.size(), offset);
    if (n < 0) {
      if (errno == EINTR) continue;
      return FileError(path, "write");
    }
    bytes.remove_prefix(n);
    if (offset >= 0) offset += n;
  }
  return absl::OkStatus();
}

// A device or a pipe would be replaced by the file that is renamed to it.
absl::Status CheckReplaceable(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": cannot write, is not a regular file"));
}

}  // namespace

absl::Status FileError(absl::string_view path, absl::string_view what) {
  const int error = errno;
  return absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot ", what));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  NW_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  return std::string(file.bytes());
}

absl::StatusOr<FileWriter> FileWriter::Open(const std::string& path,
                                            int flags) {
  const int fd =
      open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
  if (fd < 0) return FileError(path, "create");
  return FileWriter(path, fd);
}

absl::StatusOr<FileWriter> FileWriter::Create(const std::string& path) {
  return Open(path, O_TRUNC);
}

absl::StatusOr<FileWriter> FileWriter::OpenToAppend(const std::string& path) {
  return Open(path, O_APPEND);
}

FileWriter::FileWriter(std::string path, int fd)
    : path_(std::move(path)), fd_(fd) {}

FileWriter::FileWriter(FileWriter&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      buffer_(std::move(other.buffer_)) {}

FileWriter::~FileWriter() {
  if (fd_ >= 0) close(fd_);
}

absl::Status FileWriter::Append(absl::string_view bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) {
    NW_RETURN_IF_ERROR(Flush());
  }
  if (bytes.size() >= kBufferBytes) return WriteAll(fd_, path_, bytes, -1);
  buffer_.append(bytes.data(), bytes.size());
  return absl::OkStatus();
}

absl::Status FileWriter::WriteAt(size_t offset, absl::string_view bytes) {
  NW_RETURN_IF_ERROR(Flush());
  return WriteAll(fd_, path_, bytes, static_cast<off_t>(offset));
}

absl::Status FileWriter::Sync() {
  NW_RETURN_IF_ERROR(Flush());
  if (fsync(fd_) != 0) return FileError(path_, "sync");
  return absl::OkStatus();
}

absl::Status FileWriter::SyncAndClose() {
  NW_RETURN_IF_ERROR(Sync());
  if (close(std::exchange(fd_, -1)) != 0) return FileError(path_, "close");
  return absl::OkStatus();
}

absl::Status FileWriter::Flush() {
  NW_RETURN_IF_ERROR(WriteAll(fd_, path_, buffer_, -1));
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status WriteFileAtomically(
    const std::string& path,
    const std::function<absl::Status(FileWriter&)>& write) {
  NW_RETURN_IF_ERROR(CheckReplaceable(path));
  const std::filesystem::path target(path);
  const std::string directory =
      target.has_parent_path() ? target.parent_path().string() : ".";
  const std::string temporary = absl::StrCat(path, ".tmp.", getpid());
  const absl::Status written = [&]() -> absl::Status {
    NW_ASSIGN_OR_RETURN(FileWriter file, FileWriter::Create(temporary));
    NW_RETURN_IF_ERROR(write(file));
    NW_RETURN_IF_ERROR(file.SyncAndClose());
    if (rename(temporary.c_str(), path.c_str()) != 0) {
      return FileError(path, "rename a temporary file to it");
    }
    return SyncDirectory(directory);
  }();
  if (!written.ok()) unlink(temporary.c_str());
  return written;
}

absl::Status WriteFileAtomically(const std::string& path,
                                 absl::string_view contents) {
  return WriteFileAtomically(
      path, [&](FileWriter& file) { return file.Append(contents); });
}

absl::Status SyncDirectory(const std::string& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return FileError(directory, "open");
  const int result = fsync(fd);
  const absl::Status status =
      result == 0 ? absl::OkStatus() : FileError(directory, "sync");
  close(fd);
  return status;
}

absl::Status MakeDirectories(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat(directory, ": cannot create"));
  }
  return absl::OkStatus();
}

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(path, "open");
  struct stat info;
  absl::Status status;
  void* data = nullptr;
  if (fstat(fd, &info) != 0) {
    status = FileError(path, "inspect");
  } else if (!S_ISREG(info.st_mode)) {
    status = absl::InvalidArgumentError(
        absl::StrCat(path, ": is not a regular file"));
  } else if (info.st_size > 0) {
    data = mmap(nullptr, info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) status = FileError(path, "map");
  }
  close(fd);
  if (!status.ok()) return status;
  return MappedFile(static_cast<const char*>(data), info.st_size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), size_);
}

}  // namespace nextword

// Files: reads, memory maps and writes that appear whole or not at all.
// Every error names the path and the system's reason. Every call that could
// fail is a fault point.
#ifndef NEXTWORD_AUTOGRAD_BASE_FILE_H_
#define NEXTWORD_AUTOGRAD_BASE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nextword {

// An absl::Status for the current errno: "PATH: cannot WHAT: reason".
absl::Status FileError(absl::string_view path, absl::string_view what);

// A file open for reading, at any place. Unlike in a map, a read that fails is
// an error and not a signal. Thread-safe.
class FileReader {
 public:
  // Error: it is no regular file.
  static absl::StatusOr<FileReader> Open(const std::string& path);
  FileReader(FileReader&& other) noexcept;
  FileReader& operator=(FileReader&&) = delete;
  ~FileReader();

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }  // When it was opened.

  // Copies `size` bytes from byte `offset` on to `into`. Error: it has fewer.
  absl::Status Read(uint64_t offset, size_t size, void* into) const;

 private:
  FileReader(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_;
  uint64_t size_ = 0;
};

// Contents of a file.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// A file being written in order; buffered. Nothing is durable before Sync.
class FileWriter {
 public:
  static absl::StatusOr<FileWriter> Create(const std::string& path);
  // Goes on at the end of a file, which is created when there is none.
  static absl::StatusOr<FileWriter> OpenToAppend(const std::string& path);
  FileWriter(FileWriter&& other) noexcept;
  FileWriter& operator=(FileWriter&&) = delete;
  ~FileWriter();  // Closes; what was not synced may be lost.

  absl::Status Append(absl::string_view bytes);
  // Overwrites bytes already appended, such as a header that counts them.
  absl::Status WriteAt(size_t offset, absl::string_view bytes);
  // Hands what is buffered to the system, where other programs see it. After an
  // error, what could not be written is still buffered, for another try.
  absl::Status Flush();
  // Flushes to the disk.
  absl::Status Sync();
  // Makes durable what has been flushed. Any thread may, while another writes.
  absl::Status SyncFlushed() const;
  absl::Status SyncAndClose();

 private:
  FileWriter(std::string path, int fd);
  static absl::StatusOr<FileWriter> Open(const std::string& path, int flags);
  absl::Status Write(absl::string_view* bytes);

  std::string path_;
  int fd_;
  std::string buffer_;
  size_t unstarted_bytes_ = 0;  // Whose way to the disk has not begun.
};

// Writes `path` through a temporary name in its folder: `write` fills it, then
// it is synced and renamed, so that readers see the old file or the new one.
// On any error the temporary is removed and `path` is untouched. Error: `path`
// is something other than a regular file, such as a device.
absl::Status WriteFileAtomically(
    const std::string& path,
    const std::function<absl::Status(FileWriter&)>& write);
absl::Status WriteFileAtomically(const std::string& path,
                                 absl::string_view contents);

// Makes renames and new names in `directory` durable.
absl::Status SyncDirectory(const std::string& directory);

// Creates a directory and its parents; fine when it exists.
absl::Status MakeDirectories(const std::string& directory);

// A read-only memory map of a whole file. Immutable, so thread-safe.
class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  absl::string_view bytes() const { return {data_, size_}; }

 private:
  MappedFile(const char* data, size_t size) : data_(data), size_(size) {}

  const char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_BASE_FILE_H_

#include "autograd/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/fault_point.h"
#include "autograd/base/status.h"

namespace nextword {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
// Bytes after which the system is told to begin writing to the disk, so that
// it does so while more come, and Sync has little left to wait for.
constexpr size_t kStartBytes = size_t{8} << 20;

// Writes `bytes` at `offset`, or at the file's position when negative. What has
// been written is no longer in `bytes`, after an error, too.
absl::Status WriteAll(int fd, const std::string& path, absl::string_view* bytes,
                      off_t offset) {
  // In two parts where faults are tried out: a process may die between them.
  size_t most = HasFaultHook() ? (bytes->size() + 1) / 2 : bytes->size();
  while (!bytes->empty()) {
    if (FaultAt("write", path)) return FileError(path, "write");
    const size_t size = std::min(most, bytes->size());
    const ssize_t n = offset < 0 ? write(fd, bytes->data(), size)
                                 : pwrite(fd, bytes->data(), size, offset);
    if (n < 0) {
      if (errno == EINTR) continue;
      return FileError(path, "write");
    }
    bytes->remove_prefix(n);
    if (offset >= 0) offset += n;
  }
  return absl::OkStatus();
}

absl::Status Close(int fd, const std::string& path) {
  const bool fails = FaultAt("close", path);
  const int error = errno;
  if (close(fd) == 0 && !fails) return absl::OkStatus();
  if (fails) errno = error;
  return FileError(path, "close");
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

absl::StatusOr<FileReader> FileReader::Open(const std::string& path) {
  if (FaultAt("open", path)) return FileError(path, "open");
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(path, "open");
  FileReader reader(path, fd);
  struct stat info;
  if (fstat(fd, &info) != 0) return FileError(path, "inspect");
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is not a regular file"));
  }
  reader.size_ = static_cast<uint64_t>(info.st_size);
  return reader;
}

FileReader::FileReader(FileReader&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      size_(other.size_) {}

FileReader::~FileReader() {
  if (fd_ >= 0) close(fd_);
}

absl::Status FileReader::Read(uint64_t offset, size_t size, void* into) const {
  char* to = static_cast<char*>(into);
  while (size > 0) {
    if (FaultAt("read", path_)) return FileError(path_, "read");
    const ssize_t n = pread(fd_, to, size, static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return FileError(path_, "read");
    }
    if (n == 0) {
      return absl::DataLossError(absl::StrCat(path_, ": ends at byte ", offset,
                                              ", wanted ", size, " more"));
    }
    to += n;
    offset += n;
    size -= n;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  NW_ASSIGN_OR_RETURN(const FileReader file, FileReader::Open(path));
  std::string bytes(file.size(), '\0');
  NW_RETURN_IF_ERROR(file.Read(0, bytes.size(), bytes.data()));
  return bytes;
}

absl::StatusOr<FileWriter> FileWriter::Open(const std::string& path,
                                            int flags) {
  if (FaultAt("create", path)) return FileError(path, "create");
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
  absl::Status status;
  if (buffer_.size() + bytes.size() > kBufferBytes) status = Flush();
  if (status.ok() && bytes.size() >= kBufferBytes) return Write(&bytes);
  buffer_.append(bytes.data(), bytes.size());
  return status;
}

absl::Status FileWriter::Write(absl::string_view* bytes) {
  while (!bytes->empty()) {
    absl::string_view part = bytes->substr(0, kStartBytes - unstarted_bytes_);
    const size_t before = part.size();
    const absl::Status status = WriteAll(fd_, path_, &part, -1);
    bytes->remove_prefix(before - part.size());
    NW_RETURN_IF_ERROR(status);
    unstarted_bytes_ += before;
    if (unstarted_bytes_ < kStartBytes) continue;
    // Only a hint: where it is not understood, Sync does all of it.
    sync_file_range(fd_, 0, 0, SYNC_FILE_RANGE_WRITE);
    unstarted_bytes_ = 0;
  }
  return absl::OkStatus();
}

absl::Status FileWriter::WriteAt(size_t offset, absl::string_view bytes) {
  NW_RETURN_IF_ERROR(Flush());
  return WriteAll(fd_, path_, &bytes, static_cast<off_t>(offset));
}

absl::Status FileWriter::Sync() {
  NW_RETURN_IF_ERROR(Flush());
  return SyncFlushed();
}

absl::Status FileWriter::SyncFlushed() const {
  if (FaultAt("sync", path_) || fsync(fd_) != 0) {
    return FileError(path_, "sync");
  }
  return absl::OkStatus();
}

absl::Status FileWriter::SyncAndClose() {
  NW_RETURN_IF_ERROR(Sync());
  return Close(std::exchange(fd_, -1), path_);
}

absl::Status FileWriter::Flush() {
  absl::string_view left = buffer_;
  const absl::Status status = Write(&left);
  buffer_.erase(0, buffer_.size() - left.size());
  return status;
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
    if (FaultAt("rename", path) ||
        rename(temporary.c_str(), path.c_str()) != 0) {
      return FileError(path, "rename a temporary file to it");
    }
    return SyncDirectory(directory);
  }();
  if (!written.ok() && !FaultAt("unlink", temporary)) {
    unlink(temporary.c_str());
  }
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
  const bool synced = !FaultAt("sync", directory) && fsync(fd) == 0;
  const absl::Status status =
      synced ? absl::OkStatus() : FileError(directory, "sync");
  close(fd);
  return status;
}

absl::Status MakeDirectories(const std::string& directory) {
  std::error_code error;
  if (FaultAt("mkdir", directory)) return FileError(directory, "create");
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

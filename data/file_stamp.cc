#include "data/file_stamp.h"

#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "autograd/base/file_hash.h"
#include "autograd/base/status.h"

namespace nextword {

absl::StatusOr<FileStamp> StampFile(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return FileError(path, "read");
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is not a regular file"));
  }
  if (info.st_size == 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is empty"));
  }
  std::error_code error;
  const std::filesystem::path canonical =
      std::filesystem::canonical(path, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat(path, ": cannot resolve"));
  }
  return FileStamp{.path = canonical.string(),
                   .bytes = static_cast<uint64_t>(info.st_size),
                   .modified_ns = int64_t{info.st_mtim.tv_sec} * 1000000000 +
                                  info.st_mtim.tv_nsec};
}

absl::StatusOr<FileStamp> Hashed(FileStamp stamp) {
  NW_ASSIGN_OR_RETURN(const FileReader file, FileReader::Open(stamp.path));
  NW_ASSIGN_OR_RETURN(stamp.hash, HashFile(file));
  return stamp;
}

}  // namespace nextword

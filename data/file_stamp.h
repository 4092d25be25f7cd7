// What tells whether a file is still the one that was read.
#ifndef NEXTWORD_DATA_FILE_STAMP_H_
#define NEXTWORD_DATA_FILE_STAMP_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace nextword {

struct FileStamp {
  std::string path;  // Absolute, without symbolic links.
  uint64_t bytes = 0;
  int64_t modified_ns = 0;  // Since 1970.
  uint64_t hash = 0;        // XXH3 of the contents, 0 while not computed.

  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

// The stamp of a non-empty regular file, without its hash. Anything else is an
// error that names the path.
absl::StatusOr<FileStamp> StampFile(const std::string& path);

// The stamp with the hash of what the file contains now.
absl::StatusOr<FileStamp> Hashed(FileStamp stamp);

}  // namespace nextword

#endif  // NEXTWORD_DATA_FILE_STAMP_H_

// Checksums of whole files.
#ifndef NEXTWORD_AUTOGRAD_BASE_FILE_HASH_H_
#define NEXTWORD_AUTOGRAD_BASE_FILE_HASH_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "autograd/base/file.h"

namespace nextword {

// Hash64 of all bytes of `file`. Takes little memory; ends with Cancelled when
// the process has been asked to stop (stop.h).
absl::StatusOr<uint64_t> HashFile(const FileReader& file);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_BASE_FILE_HASH_H_

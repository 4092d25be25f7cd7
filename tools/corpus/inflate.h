// Inflate: a zlib or gzip stream in memory, uncompressed. Thread-safe.
#ifndef NEXTWORD_TOOLS_CORPUS_INFLATE_H_
#define NEXTWORD_TOOLS_CORPUS_INFLATE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nextword {

// The content of `compressed`, which must be one whole stream. Content longer
// than `max_size` bytes is an error, so a hostile stream cannot fill memory.
absl::StatusOr<std::string> Inflate(absl::string_view compressed,
                                    size_t max_size);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_CORPUS_INFLATE_H_

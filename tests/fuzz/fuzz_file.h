// Files that parsers are to read, in memory where the machine has a folder for
// that: a fuzzer writes thousands a second. They lie in a new folder, or in
// NEXTWORD_FUZZ_FOLDER, which goes when the process ends, unless it crashes.
// Not thread-safe.
#ifndef NEXTWORD_TESTS_FUZZ_FUZZ_FILE_H_
#define NEXTWORD_TESTS_FUZZ_FUZZ_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace nextword {

// The path of `name` in the folder of this process.
std::string FuzzPath(absl::string_view name);

// Writes a file there, in place of one of that name. Returns its path.
std::string WriteFuzzFile(absl::string_view name, absl::string_view bytes);

// Aborts unless `status` is an error that begins with `path`.
void CheckRefusal(const absl::Status& status, absl::string_view path);

}  // namespace nextword

#endif  // NEXTWORD_TESTS_FUZZ_FUZZ_FILE_H_

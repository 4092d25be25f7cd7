// Standard input and output of a command, with their errors.
#ifndef NEXTWORD_TOOLS_COMMANDS_STANDARD_STREAMS_H_
#define NEXTWORD_TOOLS_COMMANDS_STANDARD_STREAMS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nextword {

// Writes all of `bytes` to standard output at once, unbuffered. Error: the
// system's, a full disk for instance.
absl::Status WriteStandardOutput(absl::string_view bytes);

// Standard input to its end.
absl::StatusOr<std::string> ReadStandardInput();

// A file, or standard input if `path` is "-".
absl::StatusOr<std::string> ReadFileOrStandardInput(const std::string& path);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_STANDARD_STREAMS_H_

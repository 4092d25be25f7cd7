// File names with `*`, as configs give them.
#ifndef NEXTWORD_DATA_FILE_PATTERN_H_
#define NEXTWORD_DATA_FILE_PATTERN_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nextword {

// Whether `name` is `pattern` with each `*` replaced by some text, maybe none.
bool MatchesPattern(absl::string_view name, absl::string_view pattern);

// The files that `patterns` name, pattern by pattern. A pattern with `*` in its
// last part stands for all matching names in that folder, in byte order; names
// that start with a dot match only if the pattern does too. Others are taken as
// they are. A file counts once, where it comes first. Errors: a pattern that
// matches nothing, a folder that cannot be read, `*` in another part.
absl::StatusOr<std::vector<std::string>> ExpandPatterns(
    const std::vector<std::string>& patterns);

}  // namespace nextword

#endif  // NEXTWORD_DATA_FILE_PATTERN_H_

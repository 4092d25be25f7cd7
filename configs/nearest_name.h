// "Did you mean": the valid name closest to one that is not valid.
// Pure functions, thread-safe.
#ifndef NEXTWORD_CONFIGS_NEAREST_NAME_H_
#define NEXTWORD_CONFIGS_NEAREST_NAME_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace nextword {

// Single-character insertions, deletions, replacements and swaps of neighbours
// that turn `a` into `b` (optimal string alignment). ASCII case is ignored.
int EditDistance(absl::string_view a, absl::string_view b);

// The nearest of `names` (the first of several), or "" when none is near: a
// third of the name's letters may differ.
std::string NearestName(absl::string_view name,
                        const std::vector<std::string>& names);

// "did you mean NAME?", or, when none is near, "valid: NAME, NAME, NAME".
std::string DidYouMean(absl::string_view name,
                       const std::vector<std::string>& names);

}  // namespace nextword

#endif  // NEXTWORD_CONFIGS_NEAREST_NAME_H_

// Which text is for training and which is held out. Pure.
#ifndef NEXTWORD_DATA_SPLIT_H_
#define NEXTWORD_DATA_SPLIT_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace nextword {

struct Split {
  std::vector<absl::string_view> training;
  std::vector<absl::string_view> held_out;
};

// Holds out whole documents from the end until their bytes reach `fraction`,
// in [0, 1), of all. When only the first is left, what is missing comes from
// its end, cut at the end of a line. Both parts are non-empty, except that a
// fraction of 0 holds out nothing. Views into `documents`, which are non-empty.
// Error: the first document would have to be cut and has no line end inside.
absl::StatusOr<Split> SplitDocuments(
    absl::Span<const absl::string_view> documents, double fraction);

}  // namespace nextword

#endif  // NEXTWORD_DATA_SPLIT_H_

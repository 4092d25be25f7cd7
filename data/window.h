// A window of the token stream as a row of inputs and targets. Pure functions.
#ifndef NEXTWORD_DATA_WINDOW_H_
#define NEXTWORD_DATA_WINDOW_H_

#include <cstdint>

#include "absl/types/span.h"

namespace nextword {

// The target of a position that does not count.
inline constexpr int32_t kIgnoredTarget = -1;

// One row: `length` ids each. `documents` may be null; it receives, for each
// input, the number of its document, from 0 within the row. An end-of-text
// token belongs to the document that it ends.
struct Row {
  int64_t length;
  int32_t* inputs;
  int32_t* targets;
  int32_t* documents;
};

// Fills `row` from a window of 1 to row.length + 1 tokens: the inputs are all
// but the last, the targets all but the first. The rest of the row is padded
// with end-of-text inputs and ignored targets. With `document_mask`, the target
// of an end-of-text input, which belongs to the next document, is ignored too.
void FillRow(absl::Span<const int32_t> window, int32_t end_of_text,
             bool document_mask, const Row& row);

}  // namespace nextword

#endif  // NEXTWORD_DATA_WINDOW_H_

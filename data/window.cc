#include "data/window.h"

#include <algorithm>
#include <iterator>

#include "autograd/base/check.h"

namespace nextword {

void FillRow(absl::Span<const int32_t> window, int32_t end_of_text,
             bool document_mask, const Row& row) {
  const int64_t filled = std::ssize(window) - 1;
  NW_CHECK(0 <= filled && filled <= row.length)
      << "window of " << window.size() << ", row of " << row.length;
  std::copy_n(window.begin(), filled, row.inputs);
  std::fill(row.inputs + filled, row.inputs + row.length, end_of_text);
  std::copy_n(window.begin() + 1, filled, row.targets);
  std::fill(row.targets + filled, row.targets + row.length, kIgnoredTarget);
  int32_t document = 0;
  for (int64_t i = 0; i < row.length; ++i) {
    if (row.documents != nullptr) row.documents[i] = document;
    if (row.inputs[i] != end_of_text) continue;
    ++document;
    if (document_mask) row.targets[i] = kIgnoredTarget;
  }
}

}  // namespace nextword

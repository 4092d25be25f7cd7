#include "data/split.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"

namespace nextword {
namespace {

// Where to cut `text` so that at least `wanted` bytes come after it, or if no
// line ends that early, at the first line end.
size_t FindCut(absl::string_view text, size_t wanted) {
  const size_t kNone = absl::string_view::npos;
  const size_t kept = text.size() - wanted;
  size_t line_end = kept == 0 ? kNone : text.rfind('\n', kept - 1);
  if (line_end == kNone) line_end = text.find('\n', kept);
  return line_end == kNone ? text.size() : line_end + 1;
}

}  // namespace

absl::StatusOr<Split> SplitDocuments(
    absl::Span<const absl::string_view> documents, double fraction) {
  NW_CHECK(!documents.empty() && fraction >= 0 && fraction < 1);
  Split split{.training = {documents.begin(), documents.end()}, .held_out = {}};
  if (fraction == 0) return split;
  size_t total = 0;
  for (const absl::string_view document : documents) total += document.size();
  const auto wanted = std::max<size_t>(
      1, static_cast<size_t>(fraction * static_cast<double>(total)));
  size_t reached = 0;
  while (reached < wanted && split.training.size() > 1) {
    reached += split.training.back().size();
    split.held_out.push_back(split.training.back());
    split.training.pop_back();
  }
  if (reached < wanted) {
    absl::string_view& first = split.training[0];
    const size_t cut = FindCut(first, wanted - reached);
    if (cut == first.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("to hold out ", wanted, " of ", total,
                       " bytes, the first document must be cut, but it has no "
                       "line end at which to cut"));
    }
    split.held_out.push_back(first.substr(cut));
    first = first.substr(0, cut);
  }
  std::reverse(split.held_out.begin(), split.held_out.end());
  return split;
}

}  // namespace nextword

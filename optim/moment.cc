#include "optim/moment.h"

#include <algorithm>

#include "autograd/kernels/kernels.h"

namespace nextword {

std::vector<UpdateRange> UpdateRanges(const Parameters& parameters,
                                      const Pieces& pieces,
                                      const Choice& choice) {
  std::vector<UpdateRange> whole;
  for (const Parameters::Entry& entry : parameters.entries()) {
    if (choice && !choice(entry)) continue;
    const int64_t end = entry.offset + entry.numel();
    if (!whole.empty() && whole.back().end == entry.offset &&
        whole.back().matrices == entry.is_matrix()) {
      whole.back().end = end;
    } else {
      whole.push_back({entry.range(), entry.is_matrix(), 0});
    }
  }
  std::vector<UpdateRange> ranges;
  int64_t packed = 0;
  const auto add = [&](const UpdateRange& of, const FlatRange& piece) {
    const UpdateRange range{Overlap(of, piece), of.matrices, packed};
    if (range.size() == 0) return;
    packed += range.size();
    ranges.push_back(range);
  };
  for (const UpdateRange& range : whole) {
    if (!pieces.has_value()) {
      add(range, range);
      continue;
    }
    for (const FlatRange& piece : *pieces) add(range, piece);
  }
  return ranges;
}

Tensor ZerosPacked(const Parameters& parameters,
                   const std::vector<UpdateRange>& ranges) {
  const int64_t size =
      ranges.empty() ? 0 : ranges.back().packed_begin + ranges.back().size();
  const Tensor& values = parameters.values();
  return Zeros({size}, values.dtype(), values.device());
}

Moment MomentOf(const std::string& name, const std::vector<UpdateRange>& ranges,
                const Tensor& packed) {
  Moment moment{name, {}};
  for (const UpdateRange& range : ranges) {
    moment.parts.push_back({range.begin, range.OfPacked(packed)});
  }
  return moment;
}

void AppendViews(const Parameters& parameters, const std::string& prefix,
                 const Tensor& moment, std::vector<NamedTensor>* state) {
  for (const Parameters::Entry& entry : parameters.entries()) {
    state->push_back({prefix + "." + entry.name,
                      moment.View(entry.offset, entry.variable.shape())});
  }
}

}  // namespace nextword

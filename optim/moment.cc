#include "optim/moment.h"

namespace nextword {

std::vector<UpdateRange> UpdateRanges(const Parameters& parameters,
                                      const Choice& choice) {
  std::vector<UpdateRange> ranges;
  for (const Parameters::Entry& entry : parameters.entries()) {
    if (choice && !choice(entry)) continue;
    const int64_t end = entry.offset + entry.numel();
    if (!ranges.empty() && ranges.back().end == entry.offset &&
        ranges.back().matrices == entry.is_matrix()) {
      ranges.back().end = end;
    } else {
      ranges.push_back({entry.offset, end, entry.is_matrix()});
    }
  }
  return ranges;
}

void AppendViews(const Parameters& parameters, const std::string& prefix,
                 const Tensor& moment, std::vector<NamedTensor>* state) {
  for (const Parameters::Entry& entry : parameters.entries()) {
    state->push_back({prefix + "." + entry.name,
                      moment.View(entry.offset, entry.variable.shape())});
  }
}

}  // namespace nextword

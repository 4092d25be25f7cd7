#include "autograd/parameters.h"

#include <algorithm>
#include <set>

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"
#include "autograd/tensor/memory_label.h"

namespace nextword {

Parameters::Parameters(const std::vector<NamedVariable>& leaves, DType dtype,
                       Device device) {
  std::set<std::string> names;
  for (const NamedVariable& leaf : leaves) {
    NW_CHECK(names.insert(leaf.name).second)
        << "two parameters are named " << leaf.name;
    entries_.push_back({leaf.name, leaf.variable, 0});
  }
  std::stable_partition(entries_.begin(), entries_.end(),
                        [](const Entry& entry) { return !entry.is_matrix(); });
  int64_t numel = 0;
  for (Entry& entry : entries_) {
    entry.offset = numel;
    numel += entry.numel();
    if (!entry.is_matrix()) vectors_.end = numel;
  }
  {
    const MemoryLabel label("weights");
    values_ = Empty({numel}, dtype, device);
  }
  {
    const MemoryLabel label("gradients");
    gradients_ = Empty({numel}, dtype, device);
    Discard(gradients_);
  }
  for (Entry& entry : entries_) {
    const Shape& shape = entry.variable.shape();
    entry.variable.Bind(values_.View(entry.offset, shape),
                        gradients_.View(entry.offset, shape));
  }
}

void Parameters::ComputeIn(DType dtype, const Pieces& pieces, int64_t step) {
  const bool narrow = dtype != values_.dtype();
  NW_CHECK(!narrow || dtype == DType::kBF16) << "computing in " << dtype;
  if (narrow) {
    if (!copies_.defined()) {
      const MemoryLabel label("weights");
      copies_ = Empty({numel()}, dtype, values_.device());
      if (pieces.has_value()) Discard(copies_);
    }
    const std::vector<FlatRange> all = {{vectors_.end, numel()}};
    for (const FlatRange& piece : pieces.has_value() ? *pieces : all) {
      Tensor to = piece.Of(copies_);
      kernels::round_to_bf16(piece.Of(values_), RoundingOf(step, piece.begin),
                             &to);
    }
  } else {
    copies_ = Tensor();
  }
  for (Entry& entry : entries_) {
    if (!entry.is_matrix()) continue;
    entry.variable.Bind(
        (narrow ? copies_ : values_).View(entry.offset, entry.shape()),
        gradients_.View(entry.offset, entry.shape()));
  }
}

kernels::Rounding Parameters::RoundingOf(int64_t step, int64_t first) const {
  if (!rounding_seed_.has_value()) return {};
  constexpr uint32_t kSite = 0x726f756e;  // Apart from all places of a model.
  return {.stochastic = true,
          .key = {.seed = *rounding_seed_,
                  .step = static_cast<uint64_t>(step),
                  .site = kSite},
          .first = first};
}

void Parameters::ZeroGradients() { kernels::fill(&gradients_, 0.0); }

}  // namespace nextword

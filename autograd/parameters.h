// Parameters: a model's weights as named views over flat buffers.
//
// Values lie in one buffer and gradients in another, without gaps: vectors
// (biases and norms) first, then matrices, each in registration order, so that
// an optimizer, which treats the two differently, updates two ranges. For mixed
// precision a third buffer holds the matrices as bf16: leaves then compute with
// these copies, while gradients add up, and the optimizer works, at full
// precision. Reduction, sharding, clipping and optimizers work on ranges of
// them. Not thread-safe.
#ifndef NEXTWORD_AUTOGRAD_PARAMETERS_H_
#define NEXTWORD_AUTOGRAD_PARAMETERS_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "autograd/kernels/kernel_arguments.h"
#include "autograd/variable.h"

namespace nextword {

// A leaf of a model under its dotted name, such as "blocks.3.mlp.up.weight".
struct NamedVariable {
  std::string name;
  Variable variable;
};

// Elements [begin, end) of the flat buffers.
struct FlatRange {
  int64_t begin, end;

  int64_t size() const { return end - begin; }
  Tensor Of(const Tensor& flat) const { return flat.View(begin, {size()}); }
};

// What two ranges have in common; empty if nothing.
inline FlatRange Overlap(const FlatRange& a, const FlatRange& b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

// Ascending ranges of the flat buffers; nothing stands for all of them.
using Pieces = std::optional<std::vector<FlatRange>>;

class Parameters {
 public:
  struct Entry {
    std::string name;
    Variable variable;
    int64_t offset;  // Into the flat buffers, in elements.

    const Shape& shape() const { return variable.shape(); }
    int64_t numel() const { return variable.numel(); }
    FlatRange range() const { return {offset, offset + numel()}; }
    bool is_matrix() const { return variable.shape().rank() >= 2; }
  };

  // Allocates both buffers (gradients zeroed, values undefined) and binds the
  // leaves to them. Names must be distinct.
  Parameters(const std::vector<NamedVariable>& leaves, DType dtype,
             Device device);

  // In the buffers' order.
  const std::vector<Entry>& entries() const { return entries_; }
  int64_t numel() const { return values_.numel(); }
  // The range of all vectors.
  FlatRange vectors() const { return vectors_; }

  // Flat, [numel].
  const Tensor& values() const { return values_; }
  const Tensor& gradients() const { return gradients_; }
  // bf16, flat, of matrices only; undefined unless computing in bf16.
  const Tensor& copies() const { return copies_; }

  // A parameter at full precision: a view of values().
  Tensor ValueOf(const Entry& entry) const {
    return values_.View(entry.offset, entry.shape());
  }

  // From now on matrices compute as `dtype`, which is that of values() or bf16,
  // with the values that they have. Again after values were changed by others
  // than the optimizer. With `pieces`, only these elements are there, and are
  // converted. After `step` steps of an optimizer, if rounding depends on it.
  void ComputeIn(DType dtype, const Pieces& pieces = std::nullopt,
                 int64_t step = 0);

  // From now on copies are rounded stochastically: a function of seed, step and
  // element.
  void RoundStochastically(uint64_t seed) { rounding_seed_ = seed; }
  // How values from element `first` on become copies after `step` steps.
  kernels::Rounding RoundingOf(int64_t step, int64_t first) const;

  void ZeroGradients();

 private:
  std::vector<Entry> entries_;
  FlatRange vectors_ = {0, 0};
  Tensor values_;
  Tensor gradients_;
  Tensor copies_;
  std::optional<uint64_t> rounding_seed_;
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_PARAMETERS_H_

// Parameters: a model's weights as named views over flat buffers.
//
// Values lie in one buffer and gradients in another, both in registration
// order, without gaps. Reduction, sharding, clipping and optimizers work on
// ranges of them. Not thread-safe.
#ifndef NEXTWORD_AUTOGRAD_PARAMETERS_H_
#define NEXTWORD_AUTOGRAD_PARAMETERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/variable.h"

namespace nextword {

// A leaf of a model under its dotted name, such as "blocks.3.mlp.up.weight".
struct NamedVariable {
  std::string name;
  Variable variable;
};

class Parameters {
 public:
  struct Entry {
    std::string name;
    Variable variable;
    int64_t offset;  // Into the flat buffers, in elements.

    int64_t numel() const { return variable.value().numel(); }
    bool is_matrix() const { return variable.shape().rank() >= 2; }
  };

  // Allocates both buffers (gradients zeroed, values undefined) and binds the
  // leaves to them. Names must be distinct.
  Parameters(const std::vector<NamedVariable>& leaves, DType dtype,
             Device device);

  const std::vector<Entry>& entries() const { return entries_; }
  int64_t numel() const { return values_.numel(); }

  // Flat, [numel].
  const Tensor& values() const { return values_; }
  const Tensor& gradients() const { return gradients_; }

  void ZeroGradients();

 private:
  std::vector<Entry> entries_;
  Tensor values_;
  Tensor gradients_;
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_PARAMETERS_H_

// Optimizers over the flat buffers of Parameters.
#ifndef NEXTWORD_OPTIM_OPTIMIZER_H_
#define NEXTWORD_OPTIM_OPTIMIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "autograd/parameters.h"
#include "autograd/tensor/tensor.h"
#include "configs/train_config.pb.h"

namespace nextword {

// A moment, a number for each element of the flat buffers, of which an
// optimizer may have parts only.
struct Moment {
  struct Part {
    int64_t begin;  // In the flat buffers.
    Tensor values;  // Flat; shares memory with the optimizer.
  };
  std::string name;  // "m"
  std::vector<Part> parts;
};

// Not thread-safe. AdamW and SGD are element-wise, so that a range of the
// buffers can be updated anywhere with the same bits; Muon updates whole
// matrices.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // One update of the parameters (and of their narrow copies) by their
  // gradients times `grad_scale`; leaves the gradients zeroed. `step` counts
  // from 0.
  virtual void Step(int64_t step, double learning_rate, double grad_scale) = 0;

  // The moments, one tensor per moment and parameter, sharing memory with the
  // optimizer: "m.blocks.0.attn.qkv.weight". What a checkpoint carries. Of an
  // optimizer that updates all of the buffers.
  virtual std::vector<NamedTensor> State() const = 0;

  // The moments as the parts that this optimizer has. Muon, which updates all,
  // has State only.
  virtual std::vector<Moment> Moments() const = 0;
};

// `parameters` outlives the optimizer. Moments start as zeros. It
// updates and has moments for `pieces` only: the optimizer's part of ZeRO
// (Rajbhandari et al. 2020).
std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerConfig& config,
                                         Parameters* parameters,
                                         const Pieces& pieces = {});

}  // namespace nextword

#endif  // NEXTWORD_OPTIM_OPTIMIZER_H_

#include "autograd/ops/loss.h"

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"

namespace nextword {

Variable CrossEntropy(const Variable& logits, const Tensor& targets) {
  NW_CHECK(logits.shape().rank() >= 1 &&
           targets.shape() == logits.shape().Without(-1) &&
           targets.dtype() == DType::kI32)
      << "cross_entropy of " << logits.value() << " with targets " << targets;
  const int64_t rows = targets.numel();
  const DType dtype = logits.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
  const Tensor x = logits.value().Reshape({rows, logits.dim(-1)});
  Tensor losses = Empty({rows}, dtype, x.device());
  Tensor lse = Empty({rows}, dtype, x.device());
  kernels::cross_entropy(x, targets, &losses, &lse);
  return Record("cross_entropy", losses.Reshape(targets.shape()), {logits},
                [x, targets, lse, shape = logits.shape()](const Tensor& dy) {
                  Tensor dx = EmptyLike(x);
                  kernels::cross_entropy_grad(x, targets, lse, dy, &dx);
                  return Gradients{dx.Reshape(shape)};
                });
}

}  // namespace nextword

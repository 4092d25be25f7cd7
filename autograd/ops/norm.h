// Normalisation over the last dimension.
#ifndef NEXTWORD_AUTOGRAD_OPS_NORM_H_
#define NEXTWORD_AUTOGRAD_OPS_NORM_H_

#include <optional>

#include "autograd/variable.h"

namespace nextword {

// (x - mean) / sqrt(variance + epsilon) * weight + bias (Ba et al. 2016):
// x [.., C], weight [C], bias [C] or undefined. The result is of x's dtype
// unless another is asked for: bf16, of an f32 x.
Variable LayerNorm(const Variable& x, const Variable& weight,
                   const Variable& bias, double epsilon,
                   std::optional<DType> dtype = std::nullopt);

// x / sqrt(mean(x^2) + epsilon) * weight (Zhang and Sennrich 2019); dtypes as
// above.
Variable RmsNorm(const Variable& x, const Variable& weight, double epsilon,
                 std::optional<DType> dtype = std::nullopt);

// exp(x) / sum(exp(x)).
Variable Softmax(const Variable& x);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_NORM_H_

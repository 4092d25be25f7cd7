// Normalisation over the last dimension.
#ifndef NEXTWORD_AUTOGRAD_OPS_NORM_H_
#define NEXTWORD_AUTOGRAD_OPS_NORM_H_

#include "autograd/variable.h"

namespace nextword {

// (x - mean) / sqrt(variance + epsilon) * weight + bias (Ba et al. 2016):
// x [.., C], weight [C], bias [C] or undefined.
Variable LayerNorm(const Variable& x, const Variable& weight,
                   const Variable& bias, double epsilon);

// x / sqrt(mean(x^2) + epsilon) * weight (Zhang and Sennrich 2019).
Variable RmsNorm(const Variable& x, const Variable& weight, double epsilon);

// exp(x) / sum(exp(x)).
Variable Softmax(const Variable& x);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_NORM_H_

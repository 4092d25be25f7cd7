// Linear layers in eight-bit floats.
#ifndef NEXTWORD_AUTOGRAD_OPS_QUANTIZED_LINEAR_H_
#define NEXTWORD_AUTOGRAD_OPS_QUANTIZED_LINEAR_H_

#include "autograd/variable.h"

namespace nextword {

// Linear(x, weight, bias, residual) whose three products, of the result and of
// both gradients, take their factors in eight bits: x and weight in e4m3, the
// result's gradient in `gradient`, e4m3 or e5m2, each tensor by one scale of
// its own (Micikevicius et al. 2022, with current scaling). Sums, bias and
// residual are as Linear has them. Keeps x for the backward pass in eight bits,
// too.
Variable QuantizedLinear(const Variable& x, const Variable& weight,
                         const Variable& bias = Variable(),
                         const Variable& residual = Variable(),
                         DType gradient = DType::kE4M3);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_QUANTIZED_LINEAR_H_

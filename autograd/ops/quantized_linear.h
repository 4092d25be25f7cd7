// Linear layers in eight-bit floats (Micikevicius et al. 2022).
#ifndef NEXTWORD_AUTOGRAD_OPS_QUANTIZED_LINEAR_H_
#define NEXTWORD_AUTOGRAD_OPS_QUANTIZED_LINEAR_H_

#include "autograd/variable.h"

namespace nextword {

// How one factor of products is rounded.
struct FactorScale {
  // f32 [1], by which it is divided ("delayed scaling"). Undefined: what its
  // own largest element asks for ("current scaling"), which takes another pass
  // over it.
  Tensor scale = {};
  // f32 [1], optional: becomes its largest magnitude where that is larger.
  Tensor largest = {};
};

// A matrix in eight bits: as values / scale, and that transposed.
struct Float8Matrix {
  Tensor values, transposed, scale;

  bool defined() const { return values.defined(); }
};

// The factors of a linear layer's three products: of its result and of both
// gradients.
struct LinearScales {
  FactorScale x, weight, gradient;
  DType gradient_dtype = DType::kE4M3;  // Or e5m2.
  // The weight, with its transpose, if it was rounded before. It is not read
  // then.
  Float8Matrix rounded_weight = {};
};

// Linear(x, weight, bias, residual) whose products take their factors in eight
// bits: x and weight in e4m3, the result's gradient in its dtype, each tensor
// by one scale. Sums, bias and residual are as Linear has them. Keeps x for the
// backward pass in eight bits, too.
Variable QuantizedLinear(const Variable& x, const Variable& weight,
                         const Variable& bias = Variable(),
                         const Variable& residual = Variable(),
                         const LinearScales& scales = {});

// GeluTanhFeedForward with both its layers like that. What goes into them, and
// its gradient, is rounded once, to eight bits, where the scales are given.
Variable QuantizedGeluTanhFeedForward(
    const Variable& x, const Variable& up, const Variable& up_bias,
    const Variable& down, const Variable& down_bias, const Variable& residual,
    const LinearScales& up_scales, const LinearScales& down_scales);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_QUANTIZED_LINEAR_H_

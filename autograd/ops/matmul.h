// Matrix products.
#ifndef NEXTWORD_AUTOGRAD_OPS_MATMUL_H_
#define NEXTWORD_AUTOGRAD_OPS_MATMUL_H_

#include <optional>

#include "autograd/variable.h"

namespace nextword {

// a b, or with `transpose_b` a b': [.., m, k] times [.., k, n] ([.., n, k])
// gives [.., m, n]. Leading dimensions are equal, or b has none.
Variable Matmul(const Variable& a, const Variable& b, bool transpose_b = false);

// x weight' + bias + residual: x [.., in], weight [out, in], bias [out] and
// residual [.., out] may be undefined. x and weight are of one dtype. The
// result
// [.., out] is of residual's dtype or else x's, unless another is asked for; of
// bf16 x and weight it, bias and residual may be f32.
Variable Linear(const Variable& x, const Variable& weight,
                const Variable& bias = Variable(),
                const Variable& residual = Variable(),
                std::optional<DType> dtype = std::nullopt);

// Linear(GeluTanh(Linear(x, up, up_bias)), down, down_bias, residual), with the
// nonlinearity computed on the way in and out of the products where a device
// can (in bf16 it may spare a rounding): x [.., C], up [F, C], down [C, F].
// Biases and residual may be undefined.
Variable GeluTanhFeedForward(const Variable& x, const Variable& up,
                             const Variable& up_bias, const Variable& down,
                             const Variable& down_bias,
                             const Variable& residual);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_MATMUL_H_

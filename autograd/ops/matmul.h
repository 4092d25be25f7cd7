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

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_MATMUL_H_

// Matrix products.
#ifndef NEXTWORD_AUTOGRAD_OPS_MATMUL_H_
#define NEXTWORD_AUTOGRAD_OPS_MATMUL_H_

#include "autograd/variable.h"

namespace nextword {

// a b, or with `transpose_b` a b': [.., m, k] times [.., k, n] ([.., n, k])
// gives [.., m, n]. Leading dimensions are equal, or b has none.
Variable Matmul(const Variable& a, const Variable& b, bool transpose_b = false);

// x weight' + bias + residual: x [.., in], weight [out, in], bias [out] and
// residual [.., out] may be undefined; result [.., out], of residual's dtype or
// else x's. x and weight are of one dtype; for bf16 ones, sums are f32 and
// bias and residual may be.
Variable Linear(const Variable& x, const Variable& weight,
                const Variable& bias = Variable(),
                const Variable& residual = Variable());

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_MATMUL_H_

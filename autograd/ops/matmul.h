// Matrix products.
#ifndef NEXTWORD_AUTOGRAD_OPS_MATMUL_H_
#define NEXTWORD_AUTOGRAD_OPS_MATMUL_H_

#include "autograd/variable.h"

namespace nextword {

// a b, or with `transpose_b` a b': [.., m, k] times [.., k, n] ([.., n, k])
// gives [.., m, n]. Leading dimensions are equal, or b has none.
Variable Matmul(const Variable& a, const Variable& b, bool transpose_b = false);

// x weight' + bias: x [.., in], weight [out, in], bias [out] or undefined;
// result [.., out].
Variable Linear(const Variable& x, const Variable& weight,
                const Variable& bias = Variable());

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_MATMUL_H_

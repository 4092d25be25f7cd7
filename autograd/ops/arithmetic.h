// Element-wise arithmetic with NumPy's broadcasting. Operands share a floating
// dtype, which is the result's.
#ifndef NEXTWORD_AUTOGRAD_OPS_ARITHMETIC_H_
#define NEXTWORD_AUTOGRAD_OPS_ARITHMETIC_H_

#include <cstdint>

#include "autograd/variable.h"

namespace nextword {

Variable Add(const Variable& a, const Variable& b);
Variable Sub(const Variable& a, const Variable& b);
Variable Mul(const Variable& a, const Variable& b);
Variable Div(const Variable& a, const Variable& b);

// x [.., T, C] plus rows [first, first + T) of `table` [V, C], as x's dtype:
// learned positions, without a look-up. A row outside of the table is a CHECK
// failure.
Variable AddRows(const Variable& x, const Variable& table, int64_t first);

// factor * x.
Variable Scale(const Variable& x, double factor);

// x as `dtype`; its gradient as x's.
Variable Cast(const Variable& x, DType dtype);

Variable Exp(const Variable& x);
Variable Log(const Variable& x);
Variable Sqrt(const Variable& x);
Variable Tanh(const Variable& x);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_ARITHMETIC_H_

// Element-wise arithmetic with NumPy's broadcasting. Operands share a floating
// dtype, which is the result's.
#ifndef NEXTWORD_AUTOGRAD_OPS_ARITHMETIC_H_
#define NEXTWORD_AUTOGRAD_OPS_ARITHMETIC_H_

#include "autograd/variable.h"

namespace nextword {

Variable Add(const Variable& a, const Variable& b);
Variable Sub(const Variable& a, const Variable& b);
Variable Mul(const Variable& a, const Variable& b);
Variable Div(const Variable& a, const Variable& b);

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

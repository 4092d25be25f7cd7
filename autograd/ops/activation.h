// Nonlinearities and dropout, element by element.
#ifndef NEXTWORD_AUTOGRAD_OPS_ACTIVATION_H_
#define NEXTWORD_AUTOGRAD_OPS_ACTIVATION_H_

#include "autograd/tensor/philox.h"
#include "autograd/variable.h"

namespace nextword {

// x sigmoid(x) (Elfwing et al. 2017).
Variable Silu(const Variable& x);

// x Phi(x), exact (Hendrycks and Gimpel 2016).
Variable Gelu(const Variable& x);

// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), as in GPT-2.
Variable GeluTanh(const Variable& x);

// silu(gate) * up for x [.., 2C] = (gate, up); [.., C] (Shazeer 2020).
Variable Swiglu(const Variable& x);

// Zeroes each element with probability p in [0, 1) and scales the others by
// 1 / (1 - p). The first dimension of x counts samples; `key.sample` is the
// first one's, so that a sample's mask does not depend on how samples are
// batched. p = 0 gives x itself.
Variable Dropout(const Variable& x, double p, const RandomKey& key);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_ACTIVATION_H_

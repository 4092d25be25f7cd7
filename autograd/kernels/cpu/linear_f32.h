// The linear layer's product in float.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CPU_LINEAR_F32_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CPU_LINEAR_F32_H_

#include <cstdint>

namespace nextword::kernels {

struct LinearCall {
  int64_t m, n, k;
  const float* x;         // [m, k]
  const float* w;         // [n, k]
  const float* bias;      // [n], or null.
  const float* residual;  // [m, n], or null; not y.
  float* y;               // [m, n]
};

// Rows from which on LinearF32 pays: it packs w anew in each call.
inline constexpr int64_t kMinLinearRows = 64;

// y = x w^T + bias + residual, on all threads. The addends go in where a tile
// of the product leaves the registers, for which gemm would pass over y once
// more; without any, gemm is as fast. The bits of y[i, j] depend on row i of x,
// row j of w, their addends and k alone. k must not be 0.
void LinearF32(const LinearCall& call);

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CPU_LINEAR_F32_H_

// Matrix products of our own, with float sums.
//
// Matrices are packed into the order in which the arithmetic reads them, so
// that no orientation and no stride is slow, addends go in where a tile of the
// product leaves the registers, and bf16 matrices become float on the way.
// Thread-safe.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CPU_PACKED_GEMM_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CPU_PACKED_GEMM_H_

#include <cstdint>

#include "autograd/kernels/cpu/matrix_view.h"

namespace nextword::kernels {

template <typename T, typename U>
struct PackedProduct {
  int64_t m, n, k;  // k is not 0.
  MatrixView<T> a;  // [m, k]
  MatrixView<T> b;  // [k, n]
  Addends<U> addends;
  U* c;  // [m, n]; not the residual.
};

// Rows of c from which on packing b anew in each call pays.
inline constexpr int64_t kMinPackedRows = 64;

// Whether this machine has the vectors that make it fast.
bool PackedGemmIsFast();

// c = a b + addends, on all threads. The bits of c[i, j] depend on row i of a,
// column j of b, their addends and k alone.
void PackedGemm(const PackedProduct<float, float>& product);
void PackedGemm(const PackedProduct<BFloat16, float>& product);
void PackedGemm(const PackedProduct<BFloat16, BFloat16>& product);

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CPU_PACKED_GEMM_H_

// General matrix multiplication on the CPU, through oneDNN where its kernels
// are at their best, else by our own (packed_gemm.h).
//
// oneDNN alone may split the inner dimension over threads, which changes the
// bits with their number. Here a product is cut into tiles of the output by its
// shape alone, and each tile is one serial call: the same bits for any number
// of threads. Thread-safe.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CPU_GEMM_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CPU_GEMM_H_

#include <cstdint>

#include "autograd/kernels/cpu/matrix_view.h"

namespace nextword::kernels {

// c [m, n] = a b + addends for each of `batch` products, on all threads. The
// matrices of consecutive products lie batch_stride_x elements apart; addends
// other than the result itself serve one product only. T, the inputs' type, is
// float, double or BFloat16 (with float accumulation); U is T, or float for
// BFloat16 inputs.
template <typename T, typename U>
void Gemm(int64_t batch, int64_t m, int64_t n, int64_t k, MatrixView<T> a,
          int64_t batch_stride_a, MatrixView<T> b, int64_t batch_stride_b, U* c,
          const Addends<U>& addends = {});

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CPU_GEMM_H_

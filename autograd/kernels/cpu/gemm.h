// General matrix multiplication on the CPU, through oneDNN.
//
// The library alone may split the inner dimension over threads, which changes
// the bits with their number. Here a product is cut into tiles of the output by
// its shape alone, and each tile is one serial call: the same bits for any
// number of threads. Thread-safe.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CPU_GEMM_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CPU_GEMM_H_

#include <cstdint>

#include "autograd/tensor/dtype.h"

namespace nextword::kernels {

// A row-major matrix in memory, or the transpose of one.
template <typename T>
struct MatrixView {
  const T* data;
  int64_t stride;  // Elements from one stored row to the next.
  bool transposed = false;

  // The part that starts at (row, column) of the matrix as seen.
  MatrixView At(int64_t row, int64_t column) const {
    return {data + (transposed ? column * stride + row : row * stride + column),
            stride, transposed};
  }
};

// c [m, n] = alpha a [m, k] b [k, n] + beta c on the calling thread alone. c
// has rows `stride_c` elements apart. T is float or double.
template <typename T>
void SerialGemm(int64_t m, int64_t n, int64_t k, double alpha, MatrixView<T> a,
                MatrixView<T> b, double beta, T* c, int64_t stride_c);

// What is added to a product. Each may be absent; all may be given for float
// and double results, none but a bias for BFloat16 ones.
template <typename U>
struct Addends {
  bool itself = false;                   // The result's former value.
  const ComputeType<U>* bias = nullptr;  // [n], to each row.
  const U* residual = nullptr;           // [m, n], rows n apart.
};

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

// What matrix products are made of: matrices as they lie in memory, and what
// is added to a product.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CPU_MATRIX_VIEW_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CPU_MATRIX_VIEW_H_

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

// What is added to a product, before it is rounded to BFloat16. Each may be
// absent; sums are not kept in BFloat16: no such result has `itself`.
template <typename U>
struct Addends {
  bool itself = false;                   // The result's former value.
  const ComputeType<U>* bias = nullptr;  // [n], to each row.
  const U* residual = nullptr;           // [m, n], rows n apart.
};

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CPU_MATRIX_VIEW_H_

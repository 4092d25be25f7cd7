// A product of row-major matrices, as a column-major library sees it.
//
// Memory that holds a matrix by rows holds its transpose by columns. So instead
// of y = op(a) op(b) the library is asked for y' = op(b)' op(a)', and nothing
// is copied. Plain arithmetic, tested without a GPU.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CUDA_MATMUL_LAYOUT_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CUDA_MATMUL_LAYOUT_H_

#include <compare>
#include <cstdint>

#include "autograd/tensor/tensor.h"

namespace nextword::kernels::cuda {

// A matrix stored by columns: element (i, j) lies at i + j * rows, that of the
// next matrix of a batch `batch_stride` elements on. Columns have no gaps, so
// `rows` is the leading dimension, too.
struct StoredMatrix {
  int64_t rows = 0, columns = 0;
  int64_t batch_stride = 0;  // 0: the same matrix for all.
  bool transposed = false;   // Enters the product as its transpose.

  auto operator<=>(const StoredMatrix&) const = default;
};

// result = op(first) op(second), `batch` times; sums of `depth` terms. `first`
// is the contract's b, `second` its a.
struct MatmulLayout {
  StoredMatrix first, second, result;
  int64_t batch = 1;
  int64_t depth = 0;

  auto operator<=>(const MatmulLayout&) const = default;
};

// The layout of `op`: y [.., m, n] = op(a) op(b) as kernels::matmul defines it.
// Leading dimensions that share one b become rows where a is not transposed.
// CHECKs that the shapes fit, and that each size fits the 32 bits that matrix
// libraries count rows, columns and batches in.
MatmulLayout LayoutMatmul(const char* op, const Tensor& a, bool transpose_a,
                          const Tensor& b, bool transpose_b, const Tensor& y);

}  // namespace nextword::kernels::cuda

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CUDA_MATMUL_LAYOUT_H_

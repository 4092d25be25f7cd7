#include "autograd/kernels/cuda/matmul_layout.h"

#include <algorithm>
#include <limits>

#include "autograd/base/check.h"

namespace nextword::kernels::cuda {
namespace {

int64_t NumMatrices(const Tensor& x) {
  return x.shape().rank() == 2 ? 1 : x.shape().NumelBefore(-2);
}

// Row-major [.., R, C], as its transpose by columns.
StoredMatrix ByColumns(const Tensor& x, bool transposed) {
  const int64_t rows = x.dim(-1), columns = x.dim(-2);
  return {rows, columns, NumMatrices(x) == 1 ? 0 : rows * columns, transposed};
}

bool ShapesFit(const Tensor& a, bool ta, const Tensor& b, bool tb,
               const Tensor& y) {
  if (a.shape().rank() < 2 || b.shape().rank() < 2 || y.shape().rank() < 2) {
    return false;
  }
  const bool shared_b = b.shape().rank() == 2;
  return NumMatrices(y) == NumMatrices(a) &&
         (shared_b || NumMatrices(b) == NumMatrices(a)) &&
         a.dim(ta ? -2 : -1) == b.dim(tb ? -1 : -2) &&
         y.dim(-2) == a.dim(ta ? -1 : -2) && y.dim(-1) == b.dim(tb ? -2 : -1);
}

bool SizesFit(const MatmulLayout& layout) {
  int64_t largest = layout.batch;
  for (const StoredMatrix& m : {layout.first, layout.second, layout.result}) {
    largest = std::max({largest, m.rows, m.columns});
  }
  return largest <= std::numeric_limits<int32_t>::max();
}

}  // namespace

MatmulLayout LayoutMatmul(const char* op, const Tensor& a, bool transpose_a,
                          const Tensor& b, bool transpose_b, const Tensor& y) {
  NW_CHECK(ShapesFit(a, transpose_a, b, transpose_b, y))
      << op << ": " << a << (transpose_a ? " transposed" : "") << " times " << b
      << (transpose_b ? " transposed" : "") << " into " << y;
  MatmulLayout layout{.first = ByColumns(b, transpose_b),
                      .second = ByColumns(a, transpose_a),
                      .result = ByColumns(y, false),
                      .batch = NumMatrices(a),
                      .depth = a.dim(transpose_a ? -2 : -1)};
  if (b.shape().rank() == 2 && !transpose_a) {
    for (StoredMatrix* matrix : {&layout.second, &layout.result}) {
      matrix->columns *= layout.batch;
      matrix->batch_stride = 0;
    }
    layout.batch = 1;
  }
  NW_CHECK(SizesFit(layout))
      << op << ": " << a << " times " << b << " into " << y
      << ": more than 2^31 - 1 rows, columns or matrices";
  return layout;
}

}  // namespace nextword::kernels::cuda

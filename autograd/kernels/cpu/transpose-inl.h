// Transposes of matrices that lie in the cache.
//
// Included inside per-target code, hence the guard that lets every target in.
#if defined(NEXTWORD_AUTOGRAD_KERNELS_CPU_TRANSPOSE_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef NEXTWORD_AUTOGRAD_KERNELS_CPU_TRANSPOSE_INL_H_
#undef NEXTWORD_AUTOGRAD_KERNELS_CPU_TRANSPOSE_INL_H_
#else
#define NEXTWORD_AUTOGRAD_KERNELS_CPU_TRANSPOSE_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
// 4 elements of each of Lanes(d) / 4 rows, `stride` apart.
template <class D>
HWY_INLINE hn::Vec<D> LoadBlocks(D d, const float* x, int64_t stride) {
  constexpr int64_t kSize = hn::MaxLanes(D());
  if constexpr (kSize == 4) {
    return hn::LoadU(d, x);
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, LoadBlocks(half, x + kSize / 8 * stride, stride),
                       LoadBlocks(half, x, stride));
  }
}
#endif

// y [columns, rows] = the transpose of x [rows, columns]; rows is a multiple of
// the lanes of a vector, to which y's are aligned, columns one of 4.
HWY_INLINE void Transpose(int64_t rows, int64_t columns,
                          const float* HWY_RESTRICT x, int64_t stride_x,
                          float* HWY_RESTRICT y, int64_t stride_y) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < columns; ++i) {
      y[i * stride_y + r] = x[r * stride_x + i];
    }
  }
#else
  const hn::ScalableTag<float> d;
  const hn::Repartition<double, decltype(d)> dd;
  constexpr int64_t kSize = hn::MaxLanes(d);
  for (int64_t r = 0; r < rows; r += kSize) {
    for (int64_t i = 0; i < columns; i += 4) {
      // Row r + q, r + q + 4, ... in the blocks of row q: transposed within
      // blocks, they are whole columns.
      const auto load = [&](int64_t q) HWY_ATTR {
        return LoadBlocks(d, x + (r + q) * stride_x + i, 4 * stride_x);
      };
      const auto row0 = load(0), row1 = load(1), row2 = load(2), row3 = load(3);
      const auto low01 = hn::BitCast(dd, hn::InterleaveLower(d, row0, row1));
      const auto high01 = hn::BitCast(dd, hn::InterleaveUpper(d, row0, row1));
      const auto low23 = hn::BitCast(dd, hn::InterleaveLower(d, row2, row3));
      const auto high23 = hn::BitCast(dd, hn::InterleaveUpper(d, row2, row3));
      const auto store = [&](int64_t column, auto values) HWY_ATTR {
        hn::Store(hn::BitCast(d, values), d, y + (i + column) * stride_y + r);
      };
      store(0, hn::InterleaveLower(dd, low01, low23));
      store(1, hn::InterleaveUpper(dd, low01, low23));
      store(2, hn::InterleaveLower(dd, high01, high23));
      store(3, hn::InterleaveUpper(dd, high01, high23));
    }
  }
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CPU_TRANSPOSE_INL_H_

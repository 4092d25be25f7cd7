// Rows of one head for the kernels of attention: fetched ahead, and packed.
//
// Included inside per-target code, hence the guard that lets every target in.
#if defined(NEXTWORD_AUTOGRAD_KERNELS_CPU_PACK_ROWS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef NEXTWORD_AUTOGRAD_KERNELS_CPU_PACK_ROWS_INL_H_
#undef NEXTWORD_AUTOGRAD_KERNELS_CPU_PACK_ROWS_INL_H_
#else
#define NEXTWORD_AUTOGRAD_KERNELS_CPU_PACK_ROWS_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstdint>

#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

// Fetches the rows of two heads, `n` of `bytes` each and `stride` bytes apart,
// into the cache bit by bit, between other work.
class RowPrefetcher {
 public:
  RowPrefetcher(std::array<const void*, 2> rows, int64_t stride, int64_t n,
                int64_t bytes)
      : rows_{static_cast<const char*>(rows[0]),
              static_cast<const char*>(rows[1])},
        stride_(stride),
        n_(n),
        bytes_(bytes) {}

  // Two rows of each.
  void Advance() {
    for (int k = 0; k < 2 && n_ > 0; ++k, --n_) {
      for (const char*& row : rows_) {
        for (int64_t i = 0; i < bytes_; i += 64) hwy::Prefetch(row + i);
        row += stride_;
      }
    }
  }

 private:
  std::array<const char*, 2> rows_;
  int64_t stride_, n_, bytes_;
};

// Rows of one head, in float and padded with zeros: to [padded_rows, width].
template <typename T>
void PackRows(const T* HWY_RESTRICT from, int64_t stride, int64_t rows,
              int64_t size, int64_t padded_rows, int64_t width,
              float* HWY_RESTRICT to) {
  // Rows of one head lie apart: the hardware does not guess the next one.
  constexpr int64_t kAhead = 16, kLine = 64;
  const int64_t bytes = size * static_cast<int64_t>(sizeof(T));
  const auto prefetch = [&](int64_t r) HWY_ATTR {
    const char* const row = reinterpret_cast<const char*>(from + r * stride);
    for (int64_t i = 0; i < bytes; i += kLine) hwy::Prefetch(row + i);
  };
  for (int64_t r = 0; r < std::min(kAhead, rows); ++r) prefetch(r);
  for (int64_t r = 0; r < rows; ++r, from += stride, to += width) {
    if (r + kAhead < rows) prefetch(kAhead);
    for (int64_t i = 0; i < size; ++i) to[i] = static_cast<float>(from[i]);
    for (int64_t i = size; i < width; ++i) to[i] = 0;
  }
  std::fill_n(to, (padded_rows - rows) * width, 0.0f);
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CPU_PACK_ROWS_INL_H_

// Building blocks of CPU kernels: chunk sizes, and sums in a fixed order.
//
// Included inside per-target code, so everything here is forced inline and
// takes the instruction set of its caller.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CPU_LOOPS_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CPU_LOOPS_H_

#include <algorithm>
#include <cstdint>

#include "autograd/base/parallel.h"
#include "autograd/tensor/dtype.h"

#define NW_INLINE inline __attribute__((always_inline))

namespace nextword::kernels {

// Elements that one task of an element-wise loop handles.
inline constexpr int64_t kChunk = 8192;

// Rows of `columns` elements that one task handles.
NW_INLINE int64_t RowsPerTask(int64_t columns) {
  return std::max<int64_t>(1, kChunk / std::max<int64_t>(1, columns));
}

// Sums f(0) ... f(n - 1) in kLanes interleaved partial sums, added pairwise.
// The order is fixed, so that every vector width gives the same bits.
template <typename C, typename F>
NW_INLINE C LaneSum(int64_t n, const F& f) {
  constexpr int kLanes = 16;
  C lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += f(i + lane);
  }
  for (int lane = 0; i < n; ++i, ++lane) lanes[lane] += f(i);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

// The largest of f(0) ... f(n - 1), at least `floor`.
template <typename C, typename F>
NW_INLINE C LaneMax(int64_t n, C floor, const F& f) {
  constexpr int kLanes = 16;
  C lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = floor;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const C value = f(i + lane);
      lanes[lane] = value > lanes[lane] ? value : lanes[lane];
    }
  }
  C largest = floor;
  for (int lane = 0; lane < kLanes; ++lane) {
    largest = lanes[lane] > largest ? lanes[lane] : largest;
  }
  for (; i < n; ++i) {
    const C value = f(i);
    largest = value > largest ? value : largest;
  }
  return largest;
}

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CPU_LOOPS_H_

// Products of matrices that lie in the cache, as parts of a larger kernel.
//
// All in float, on the calling thread. Rows of b are contiguous and whole
// vectors, aligned to one; elements of a are broadcast, so a may be transposed
// for nothing. A tile of a b stays in registers over all of k; each element is
// one chain of MulAdd in the order of k.
//
// Included inside per-target code, hence the guard that lets every target in.
#if defined(NEXTWORD_AUTOGRAD_KERNELS_CPU_TILE_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef NEXTWORD_AUTOGRAD_KERNELS_CPU_TILE_INL_H_
#undef NEXTWORD_AUTOGRAD_KERNELS_CPU_TILE_INL_H_
#else
#define NEXTWORD_AUTOGRAD_KERNELS_CPU_TILE_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVector = hn::Vec<FloatTag>;

constexpr int64_t kLanes = hn::MaxLanes(FloatTag());

// Rows and vectors of a tile: sums for all but a few of the registers.
constexpr int64_t kTileRows = 6;
constexpr int64_t kTileVectors = kLanes >= 16 ? 4 : 2;

// The smallest number of whole vectors' elements that holds n.
constexpr int64_t RoundUpToLanes(int64_t n) {
  return (n + kLanes - 1) / kLanes * kLanes;
}

// A matrix of which single elements are read, perhaps transposed.
template <bool kTransposed>
struct Broadcast {
  const float* data;
  int64_t stride;

  HWY_INLINE const float* At(int64_t row, int64_t column) const {
    return kTransposed ? data + column * stride + row
                       : data + row * stride + column;
  }
};

using Rows = Broadcast<false>;
using Columns = Broadcast<true>;  // The transpose of what is stored.

// Where a call would move the sums of a tile from registers to memory.
#define NW_INLINE_LAMBDA HWY_ATTR __attribute__((always_inline))

// f(0), f(1), ... f(kCount - 1), each with a constant of its own: in loops the
// compiler would keep an array of vectors in memory.
template <int kCount, typename F>
HWY_INLINE void Unroll(const F& f) {
  [&]<int... kIndices>(std::integer_sequence<int, kIndices...>)
      NW_INLINE_LAMBDA {
    (f(std::integral_constant<int, kIndices>()), ...);
  }
  (std::make_integer_sequence<int, kCount>());
}

// Calls store(i, j, x) with each vector x of a tile of a [kRows, k] b [k,
// kVectors * kLanes]: the one in row i that starts in column j. Asks for b
// `kAhead` rows before they are used.
template <int kRows, int kVectors, int kAhead = 0, bool kTransposed,
          typename Store>
HWY_INLINE void Tile(int64_t k, Broadcast<kTransposed> a,
                     const float* HWY_RESTRICT b, int64_t stride_b,
                     const Store& store) {
  const FloatTag d;
  FloatVector sum[kRows][kVectors];
  Unroll<kRows * kVectors>([&](auto i) NW_INLINE_LAMBDA {
    sum[i / kVectors][i % kVectors] = hn::Zero(d);
  });
#pragma GCC unroll 4
  for (int64_t l = 0; l < k; ++l) {
    FloatVector row[kVectors];
    Unroll<kVectors>([&](auto v) NW_INLINE_LAMBDA {
      const float* const from = b + l * stride_b + v * kLanes;
      row[v] = hn::Load(d, from);
      if constexpr (kAhead > 0 && v * kLanes % 16 == 0) {  // Once per line.
        hwy::Prefetch(from + kAhead * stride_b);
      }
    });
    Unroll<kRows>([&](auto i) NW_INLINE_LAMBDA {
      const FloatVector x = hn::Set(d, *a.At(i, l));
      Unroll<kVectors>([&](auto v) NW_INLINE_LAMBDA {
        sum[i][v] = hn::MulAdd(x, row[v], sum[i][v]);
      });
    });
  }
  Unroll<kRows * kVectors>([&](auto i) NW_INLINE_LAMBDA {
    store(i / kVectors, i % kVectors * kLanes, sum[i / kVectors][i % kVectors]);
  });
}

template <int kRows, int kVectors, bool kTransposed>
void MultiplyTile(int64_t k, Broadcast<kTransposed> a,
                  const float* HWY_RESTRICT b, int64_t stride_b, bool add,
                  float* HWY_RESTRICT c, int64_t stride_c) {
  const FloatTag d;
  Tile<kRows, kVectors>(
      k, a, b, stride_b,
      [&](int64_t i, int64_t j, FloatVector x) NW_INLINE_LAMBDA {
        float* const to = c + i * stride_c + j;
        hn::Store(add ? hn::Add(hn::Load(d, to), x) : x, d, to);
      });
}

template <bool kTransposed, int kRows>
HWY_INLINE void MultiplyRows(int64_t n, int64_t k, Broadcast<kTransposed> a,
                             const float* b, int64_t stride_b, bool add,
                             float* c, int64_t stride_c) {
  constexpr int64_t kPanel = kTileVectors * kLanes;
  for (; n >= kPanel; n -= kPanel, b += kPanel, c += kPanel) {
    MultiplyTile<kRows, kTileVectors>(k, a, b, stride_b, add, c, stride_c);
  }
  const auto rest = [&]<int kVectors>() HWY_ATTR {
    if (n == kVectors * kLanes) {
      MultiplyTile<kRows, kVectors>(k, a, b, stride_b, add, c, stride_c);
    }
  };
  if constexpr (kTileVectors > 2) {
    rest.template operator()<3>();
    rest.template operator()<2>();
  }
  rest.template operator()<1>();
}

// c [m, n] = a [m, k] b [k, n], added to c where `add`. m is at most kTileRows,
// n a multiple of kLanes; rows of c are aligned to a vector.
template <bool kTransposed>
void Multiply(int64_t m, int64_t n, int64_t k, Broadcast<kTransposed> a,
              const float* b, int64_t stride_b, bool add, float* c,
              int64_t stride_c) {
  switch (m) {
    case 6:
      return MultiplyRows<kTransposed, 6>(n, k, a, b, stride_b, add, c,
                                          stride_c);
    case 5:
      return MultiplyRows<kTransposed, 5>(n, k, a, b, stride_b, add, c,
                                          stride_c);
    case 4:
      return MultiplyRows<kTransposed, 4>(n, k, a, b, stride_b, add, c,
                                          stride_c);
    case 3:
      return MultiplyRows<kTransposed, 3>(n, k, a, b, stride_b, add, c,
                                          stride_c);
    case 2:
      return MultiplyRows<kTransposed, 2>(n, k, a, b, stride_b, add, c,
                                          stride_c);
    default:
      return MultiplyRows<kTransposed, 1>(n, k, a, b, stride_b, add, c,
                                          stride_c);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CPU_TILE_INL_H_

// The product is cut as in Goto and van de Geijn, "Anatomy of High-Performance
// Matrix Multiplication" (2008): a block of w is packed into panels that stay
// in the second cache while strips of x, which stay in the first, pass over
// them.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/linear_f32.cc"
#include "hwy/foreach_target.h"

#include "autograd/kernels/cpu/linear_f32.h"

#include <algorithm>

#include "autograd/base/parallel.h"
#include "autograd/kernels/cpu/tile-inl.h"
#include "autograd/kernels/cpu/transpose-inl.h"
#include "autograd/tensor/tensor.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

// Columns of y that a tile of registers holds.
constexpr int64_t kPanel = kTileVectors * kLanes;

// The largest packed block of w: 576 KiB.
constexpr int64_t kBlockDepth = 768, kBlockColumns = 192;
static_assert(kBlockColumns % kPanel == 0);

// Writes w [columns, depth], transposed and padded with zeros, to `panel`
// [depth, kPanel].
void PackPanel(const float* HWY_RESTRICT w, int64_t stride, int64_t columns,
               int64_t depth, float* HWY_RESTRICT panel) {
  constexpr int64_t kStep = 64;  // The part of a panel in the first cache.
  for (int64_t l = 0; l < depth; l += kStep, panel += kStep * kPanel) {
    const int64_t count = std::min(kStep, depth - l);
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t i = kStep; i < std::min(2 * kStep, depth - l); i += 16) {
        hwy::Prefetch(w + j * stride + l + i);
      }
    }
    if (columns == kPanel && count % 4 == 0) {
      Transpose(kPanel, count, w + l, stride, panel, kPanel);
      continue;
    }
    std::fill_n(panel, count * kPanel, 0.0f);
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t i = 0; i < count; ++i) {
        panel[i * kPanel + j] = w[j * stride + l + i];
      }
    }
  }
}

// The part of y that one tile of registers holds, over `depth` columns of x.
struct Part {
  int64_t depth, columns;
  const float* x;  // [rows, depth]
  int64_t stride_x;
  const float* panel;     // [depth, kPanel]
  bool add;               // To what y holds.
  const float* bias;      // [columns], or null.
  const float* residual;  // Like y, or null.
  float* y;               // [rows, columns]
  int64_t stride_y;
};

template <int kRows>
void MultiplyPart(const Part& part) {
  constexpr int kAhead = 8;
  const FloatTag d;
  const Rows x{part.x, part.stride_x};
  const int64_t stride = part.stride_y;
  if (part.columns == kPanel) {
    const float* const next = part.residual != nullptr ? part.residual : part.y;
    Unroll<kRows * kTileVectors>([&](auto i) NW_INLINE_LAMBDA {
      hwy::Prefetch(next + i / kTileVectors * stride +
                    i % kTileVectors * kLanes);
    });
    Tile<kRows, kTileVectors, kAhead>(
        part.depth, x, part.panel, kPanel,
        [&](int64_t i, int64_t j, FloatVector sum) NW_INLINE_LAMBDA {
          const int64_t at = i * stride + j;
          if (part.add) sum = hn::Add(sum, hn::LoadU(d, part.y + at));
          if (part.bias) sum = hn::Add(sum, hn::LoadU(d, part.bias + j));
          if (part.residual) {
            sum = hn::Add(sum, hn::LoadU(d, part.residual + at));
          }
          hn::StoreU(sum, d, part.y + at);
        });
    return;
  }
  HWY_ALIGN float sums[kRows * kPanel];
  Tile<kRows, kTileVectors, kAhead>(
      part.depth, x, part.panel, kPanel,
      [&](int64_t i, int64_t j, FloatVector sum)
          NW_INLINE_LAMBDA { hn::Store(sum, d, sums + i * kPanel + j); });
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t j = 0; j < part.columns; ++j) {
      const int64_t at = i * stride + j;
      float sum = sums[i * kPanel + j];
      if (part.add) sum += part.y[at];
      if (part.bias) sum += part.bias[j];
      if (part.residual) sum += part.residual[at];
      part.y[at] = sum;
    }
  }
}

template <int kRows = kTileRows>
void MultiplyPart(int64_t rows, const Part& part) {
  if (rows == kRows) return MultiplyPart<kRows>(part);
  if constexpr (kRows > 1) MultiplyPart<kRows - 1>(rows, part);
}

// Rows [begin, end) and the columns [first, last) of y.
void MultiplyBlock(const LinearCall& call, int64_t begin, int64_t end,
                   int64_t first, int64_t last) {
  const int64_t n = call.n, k = call.k;
  const int64_t depth =
      NumChunks(NumChunks(k, NumChunks(k, kBlockDepth)), 4) * 4;
  const Tensor memory = Empty({depth * kBlockColumns}, DType::kF32);
  float* const panels = memory.data<float>();
  for (int64_t l = 0; l < k; l += depth) {
    const int64_t count = std::min(depth, k - l);
    for (int64_t j = first; j < last; j += kPanel) {
      PackPanel(call.w + j * k + l, k, std::min(kPanel, last - j), count,
                panels + (j - first) * count);
    }
    const bool is_last = l + count == k;
    const float* const bias = is_last ? call.bias : nullptr;
    const float* const residual = is_last ? call.residual : nullptr;
    for (int64_t i = begin; i < end; i += kTileRows) {
      for (int64_t j = first; j < last; j += kPanel) {
        MultiplyPart(
            std::min(kTileRows, end - i),
            {.depth = count,
             .columns = std::min(kPanel, last - j),
             .x = call.x + i * k + l,
             .stride_x = k,
             .panel = panels + (j - first) * count,
             .add = l > 0,
             .bias = bias == nullptr ? nullptr : bias + j,
             .residual = residual == nullptr ? nullptr : residual + i * n + j,
             .y = call.y + i * n + j,
             .stride_y = n});
      }
    }
  }
}

void Linear(const LinearCall& call) {
  // Many rows for each packed block, but blocks for all threads: the bits do
  // not depend on where they are cut.
  const int64_t blocks_n = NumChunks(call.n, kBlockColumns);
  int64_t blocks_m = NumChunks(call.m, 1024);
  while (blocks_m * blocks_n < 2 * NumThreads() &&
         call.m / blocks_m > kMinLinearRows) {
    blocks_m *= 2;
  }
  const int64_t rows = NumChunks(call.m, blocks_m * kTileRows) * kTileRows;
  blocks_m = NumChunks(call.m, rows);
  ParallelForEach(
      blocks_m * blocks_n,
      [&](int64_t block) {
        const int64_t i = block % blocks_m * rows;
        const int64_t j = block / blocks_m * kBlockColumns;
        MultiplyBlock(call, i, std::min(call.m, i + rows), j,
                      std::min(call.n, j + kBlockColumns));
      },
      2.0 * static_cast<double>(call.m * call.n * call.k));
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nextword::kernels {
HWY_EXPORT(Linear);
void LinearF32(const LinearCall& call) { HWY_DYNAMIC_DISPATCH(Linear)(call); }
}  // namespace nextword::kernels
#endif  // HWY_ONCE

// The product is cut as in Goto and van de Geijn, "Anatomy of High-Performance
// Matrix Multiplication" (2008): a block of b is packed into panels that stay
// in the second cache while strips of a, which stay in the first, pass over
// them.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/packed_gemm.cc"
#include "hwy/foreach_target.h"

#include "autograd/kernels/cpu/packed_gemm.h"

#include <algorithm>
#include <type_traits>

#include "autograd/base/check.h"
#include "autograd/base/parallel.h"
#include "autograd/kernels/cpu/tile-inl.h"
#include "autograd/kernels/cpu/transpose-inl.h"
#include "autograd/tensor/tensor.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

// Columns of c that a tile of registers holds.
constexpr int64_t kPanel = kTileVectors * kLanes;

// The largest packed block of b: 576 KiB where vectors are long, for such
// processors have second caches of a MiB and more, else 384 KiB.
constexpr int64_t kBlockDepth = kLanes >= 16 ? 768 : 256;
constexpr int64_t kBlockColumns = kLanes >= 16 ? 192 : 384;
static_assert(kBlockColumns % kPanel == 0);

// The largest block of rows that pass over it.
constexpr int64_t kBlockRows = 1024;

int64_t RoundUp(int64_t n, int64_t multiple) {
  return NumChunks(n, multiple) * multiple;
}

// y = x, `n` elements.
template <typename T>
HWY_INLINE void Widen(const T* HWY_RESTRICT x, int64_t n,
                      float* HWY_RESTRICT y) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i]);
}

// Writes kPanel rows of x, `depth` of their elements, as columns to `panel`
// [depth, kPanel]. The same in bf16 goes through floats in the first cache.
void PackColumns(const float* x, int64_t stride, int64_t depth, float* panel) {
  Transpose(kPanel, depth, x, stride, panel, kPanel);
}
void PackColumns(const BFloat16* x, int64_t stride, int64_t depth,
                 float* panel) {
  constexpr int64_t kStep = 16;
  HWY_ALIGN float rows[kPanel * kStep];
  for (int64_t l = 0; l < depth; l += kStep, panel += kStep * kPanel) {
    const int64_t count = std::min(kStep, depth - l);
    for (int64_t j = 0; j < kPanel; ++j) {
      Widen(x + j * stride + l, count, rows + j * kStep);
    }
    Transpose(kPanel, count, rows, kStep, panel, kPanel);
  }
}

// Of b, which is stored transposed: writes `columns` of its columns, padded
// with zeros, to `panel` [depth, kPanel].
template <typename T>
void PackTransposedPanel(const T* HWY_RESTRICT b, int64_t stride,
                         int64_t columns, int64_t depth,
                         float* HWY_RESTRICT panel) {
  constexpr int64_t kStep = 64;  // The part of a panel in the first cache.
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t l = 0; l < depth; l += kStep, panel += kStep * kPanel) {
    const int64_t count = std::min(kStep, depth - l);
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t i = kStep; i < std::min(2 * kStep, depth - l); i += kLine) {
        hwy::Prefetch(b + j * stride + l + i);
      }
    }
    if (columns == kPanel && count % 4 == 0) {
      PackColumns(b + l, stride, count, panel);
      continue;
    }
    std::fill_n(panel, count * kPanel, 0.0f);
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t i = 0; i < count; ++i) {
        panel[i * kPanel + j] = static_cast<float>(b[j * stride + l + i]);
      }
    }
  }
}

// The same of b as it is seen.
template <typename T>
void PackPanel(MatrixView<T> b, int64_t columns, int64_t depth,
               float* HWY_RESTRICT panel) {
  if (b.transposed) {
    return PackTransposedPanel(b.data, b.stride, columns, depth, panel);
  }
  constexpr int64_t kAhead = 8;  // Rows may lie far apart.
  for (int64_t l = 0; l < depth; ++l, panel += kPanel) {
    const T* const row = b.data + l * b.stride;
    if (columns == kPanel) {
      for (int64_t j = 0; j < kPanel; j += 64 / sizeof(T)) {
        hwy::Prefetch(row + kAhead * b.stride + j);
      }
      Widen(row, kPanel, panel);
    } else {
      Widen(row, columns, panel);
      std::fill_n(panel + columns, kPanel - columns, 0.0f);
    }
  }
}

// Rows of a that are packed at a time: few enough to stay in the cache; of a
// transposed matrix, whole cache lines.
constexpr int64_t kGroupRows = 8 * kTileRows;

// A group's rows as floats, side by side in `strips` [rows, depth] unless they
// are floats already.
Rows PackRows(MatrixView<float> a, int64_t /*rows*/, int64_t /*depth*/,
              float* /*strips*/) {
  return {a.data, a.stride};
}
Rows PackRows(MatrixView<BFloat16> a, int64_t rows, int64_t depth,
              float* HWY_RESTRICT strips) {
  for (int64_t i = 0; i < rows; ++i) {
    Widen(a.At(i, 0).data, depth, strips + i * depth);
  }
  return {strips, depth};
}

// Of a that is stored transposed: writes a group's rows to strips [depth,
// kTileRows], the last one padded with zeros, one after the other.
template <typename T>
Columns PackStrips(MatrixView<T> a, int64_t rows, int64_t depth,
                   float* HWY_RESTRICT strips) {
  constexpr int64_t kAhead = 8;
  for (int64_t l = 0; l < depth; ++l) {
    const T* const from = a.At(0, l).data;
    for (int64_t i = 0; i < rows; i += 64 / sizeof(T)) {
      hwy::Prefetch(from + kAhead * a.stride + i);
    }
    float* to = strips + l * kTileRows;
    int64_t i = 0;
    for (; i + kTileRows <= rows; i += kTileRows, to += depth * kTileRows) {
      Widen(from + i, kTileRows, to);
    }
    Widen(from + i, rows - i, to);
  }
  return {strips, kTileRows};
}

// The part of c that one tile of registers holds, over `depth` columns of a.
template <bool kTransposed>
struct Part {
  int64_t depth, columns;
  Broadcast<kTransposed> a;  // [rows, depth]
  const float* panel;        // [depth, kPanel]
  bool add;                  // To what c holds.
  const float* bias;         // [columns], or null.
  const float* residual;     // Like c, or null.
  float* c;                  // [rows, columns]
  int64_t stride_c;
};

template <int kRows, bool kTransposed>
void MultiplyPart(const Part<kTransposed>& part) {
  constexpr int kAhead = 8;
  const FloatTag d;
  const int64_t stride = part.stride_c;
  if (part.columns == kPanel) {
    const float* const next = part.residual != nullptr ? part.residual : part.c;
    Unroll<kRows * kTileVectors>([&](auto i) NW_INLINE_LAMBDA {
      hwy::Prefetch(next + i / kTileVectors * stride +
                    i % kTileVectors * kLanes);
    });
    Tile<kRows, kTileVectors, kAhead>(
        part.depth, part.a, part.panel, kPanel,
        [&](int64_t i, int64_t j, FloatVector sum) NW_INLINE_LAMBDA {
          const int64_t at = i * stride + j;
          if (part.add) sum = hn::Add(sum, hn::LoadU(d, part.c + at));
          if (part.bias) sum = hn::Add(sum, hn::LoadU(d, part.bias + j));
          if (part.residual) {
            sum = hn::Add(sum, hn::LoadU(d, part.residual + at));
          }
          hn::StoreU(sum, d, part.c + at);
        });
    return;
  }
  HWY_ALIGN float sums[kRows * kPanel];
  Tile<kRows, kTileVectors, kAhead>(
      part.depth, part.a, part.panel, kPanel,
      [&](int64_t i, int64_t j, FloatVector sum)
          NW_INLINE_LAMBDA { hn::Store(sum, d, sums + i * kPanel + j); });
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t j = 0; j < part.columns; ++j) {
      const int64_t at = i * stride + j;
      float sum = sums[i * kPanel + j];
      if (part.add) sum += part.c[at];
      if (part.bias) sum += part.bias[j];
      if (part.residual) sum += part.residual[at];
      part.c[at] = sum;
    }
  }
}

template <int kRows = kTileRows, bool kTransposed>
void MultiplyPart(int64_t rows, const Part<kTransposed>& part) {
  if (rows == kRows) return MultiplyPart<kRows>(part);
  if constexpr (kRows > 1) MultiplyPart<kRows - 1>(rows, part);
}

// A block of the product's rows and columns.
struct Block {
  int64_t begin, end;   // Rows.
  int64_t first, last;  // Columns.

  int64_t rows() const { return end - begin; }
  int64_t columns() const { return last - first; }
};

// c [rows, columns] = a b + addends over `depth` columns of a, whose strips of
// kTileRows rows start `step` elements times their first row apart. Rows of c
// and of the residual are `stride` apart.
template <bool kTransposed>
void MultiplyGroup(int64_t rows, int64_t columns, int64_t depth,
                   Broadcast<kTransposed> a, int64_t step, const float* panels,
                   const Addends<float>& addends, float* c, int64_t stride) {
  for (int64_t i = 0; i < rows; i += kTileRows) {
    for (int64_t j = 0; j < columns; j += kPanel) {
      const int64_t at = i * stride + j;
      Part<kTransposed> part = {.depth = depth,
                                .columns = std::min(kPanel, columns - j),
                                .a = {a.data + i * step, a.stride},
                                .panel = panels + j * depth,
                                .add = addends.itself,
                                .bias = nullptr,
                                .residual = nullptr,
                                .c = c + at,
                                .stride_c = stride};
      if (addends.bias != nullptr) part.bias = addends.bias + j;
      if (addends.residual != nullptr) part.residual = addends.residual + at;
      MultiplyPart(std::min(kTileRows, rows - i), part);
    }
  }
}

// The same, of rows that are not packed yet.
template <typename T>
void MultiplyRows(int64_t rows, int64_t columns, int64_t depth, MatrixView<T> a,
                  const float* panels, Addends<float> addends, float* strips,
                  float* c, int64_t stride) {
  for (int64_t i = 0; i < rows; i += kGroupRows) {
    const int64_t count = std::min(kGroupRows, rows - i);
    if (a.transposed) {
      MultiplyGroup(count, columns, depth,
                    PackStrips(a.At(i, 0), count, depth, strips), depth, panels,
                    addends, c, stride);
    } else {
      const Rows packed = PackRows(a.At(i, 0), count, depth, strips);
      MultiplyGroup(count, columns, depth, packed, packed.stride, panels,
                    addends, c, stride);
    }
    c += kGroupRows * stride;
    if (addends.residual != nullptr) addends.residual += kGroupRows * stride;
  }
}

template <typename T, typename U>
void MultiplyBlock(const PackedProduct<T, U>& product, const Block& block) {
  const int64_t n = product.n, k = product.k;
  const int64_t depth = RoundUp(NumChunks(k, NumChunks(k, kBlockDepth)), 4);
  const Tensor packed = Empty(
      {depth * (RoundUp(block.columns(), kPanel) + kGroupRows)}, DType::kF32);
  float* const strips = packed.data<float>();
  float* const panels = strips + depth * kGroupRows;
  const int64_t at = block.begin * n + block.first;
  Addends<float> ends{.bias = product.addends.bias};
  if (ends.bias != nullptr) ends.bias += block.first;
  const auto multiply = [&](float* c, int64_t stride) {
    for (int64_t l = 0; l < k; l += depth) {
      Addends<float> addends{.itself = product.addends.itself || l > 0};
      if (l + depth >= k) {
        addends.bias = ends.bias;
        addends.residual = ends.residual;
      }
      const int64_t count = std::min(depth, k - l);
      for (int64_t j = 0; j < block.columns(); j += kPanel) {
        PackPanel(product.b.At(l, block.first + j),
                  std::min(kPanel, block.columns() - j), count,
                  panels + j * count);
      }
      MultiplyRows(block.rows(), block.columns(), count,
                   product.a.At(block.begin, l), panels, addends, strips, c,
                   stride);
    }
  };
  if constexpr (std::is_same_v<U, float>) {
    if (product.addends.residual) ends.residual = product.addends.residual + at;
    multiply(product.c + at, n);
  } else {
    NW_CHECK(!product.addends.itself) << "sums are not kept in bf16";
    const U* const residual = product.addends.residual;
    const Tensor sums = Empty({block.rows(), block.columns()}, DType::kF32);
    multiply(sums.data<float>(), block.columns());
    for (int64_t i = 0; i < block.rows(); ++i) {
      const float* const row = sums.data<float>() + i * block.columns();
      U* const to = product.c + at + i * n;
      if (residual == nullptr) {
        for (int64_t j = 0; j < block.columns(); ++j) to[j] = U(row[j]);
        continue;
      }
      const U* const addend = residual + at + i * n;
      for (int64_t j = 0; j < block.columns(); ++j) {
        to[j] = U(row[j] + static_cast<float>(addend[j]));
      }
    }
  }
}

template <typename T, typename U>
void Multiply(const PackedProduct<T, U>& product) {
  // Blocks of equal size, as many rows for each packed block of b as there may
  // be, but blocks for all threads: the bits do not depend on where they are
  // cut.
  const int64_t m = product.m, n = product.n;
  const int64_t columns =
      RoundUp(NumChunks(n, NumChunks(n, kBlockColumns)), kPanel);
  const int64_t blocks_n = NumChunks(n, columns);
  int64_t blocks_m = NumChunks(m, kBlockRows);
  while (blocks_m * blocks_n < 2 * NumThreads() &&
         m / blocks_m > kMinPackedRows) {
    blocks_m *= 2;
  }
  const int64_t rows = RoundUp(NumChunks(m, blocks_m), kTileRows);
  blocks_m = NumChunks(m, rows);
  ParallelForEach(
      blocks_m * blocks_n,
      [&](int64_t i) {
        const int64_t begin = i % blocks_m * rows;
        const int64_t first = i / blocks_m * columns;
        MultiplyBlock(product, {begin, std::min(m, begin + rows), first,
                                std::min(n, first + columns)});
      },
      2.0 * static_cast<double>(m * n * product.k));
}

bool HasVectors() { return kLanes >= 8; }

void MultiplyF32(const PackedProduct<float, float>& product) {
  Multiply(product);
}
void MultiplyBf16(const PackedProduct<BFloat16, BFloat16>& product) {
  Multiply(product);
}
void MultiplyBf16ToF32(const PackedProduct<BFloat16, float>& product) {
  Multiply(product);
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nextword::kernels {
HWY_EXPORT(HasVectors);
HWY_EXPORT(MultiplyF32);
HWY_EXPORT(MultiplyBf16);
HWY_EXPORT(MultiplyBf16ToF32);

bool PackedGemmIsFast() { return HWY_DYNAMIC_DISPATCH(HasVectors)(); }

void PackedGemm(const PackedProduct<float, float>& product) {
  HWY_DYNAMIC_DISPATCH(MultiplyF32)(product);
}
void PackedGemm(const PackedProduct<BFloat16, BFloat16>& product) {
  HWY_DYNAMIC_DISPATCH(MultiplyBf16)(product);
}
void PackedGemm(const PackedProduct<BFloat16, float>& product) {
  HWY_DYNAMIC_DISPATCH(MultiplyBf16ToF32)(product);
}
}  // namespace nextword::kernels
#endif  // HWY_ONCE

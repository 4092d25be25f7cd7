// Fused attention: blocks of queries against blocks of keys with a running
// softmax, so that no T x S matrix is ever made (after Dao et al. 2022,
// FlashAttention).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/attention.cc"
#include "hwy/foreach_target.h"

#include <cmath>
#include <type_traits>

#include "autograd/kernels/cpu/attention_block-inl.h"
#include "autograd/kernels/cpu/attention_f64.h"
#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/cpu/pack_rows-inl.h"
#include "autograd/kernels/cpu/register.h"
#include "autograd/kernels/head_rows.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

// The most queries of one task: enough to pay for packing the keys.
constexpr int64_t kQueryBlock = 256;

// Below every score that means anything, and above minus infinity, which a
// masked score is: their difference is not a number of any row.
constexpr float kLowest = -1e30f;

// Turns scores of columns [begin, end) into exponentials and adds them to the
// row's sums; shrinks sums and result `y` when a larger score appears. Scores
// times `factor` are exponents of two. kWhole: all columns, none masked.
template <bool kWhole>
HWY_INLINE void SoftmaxRow(int64_t begin, int64_t end, const ColumnMask* mask,
                           float factor, float* HWY_RESTRICT scores,
                           float* HWY_RESTRICT running,
                           float* HWY_RESTRICT sums, float* HWY_RESTRICT y,
                           int64_t width) {
  const FloatTag d;
  if constexpr (kWhole) begin = 0, end = kKeyBlock;
  FloatVector largest = hn::Set(d, *running);
  for (int64_t s = begin; s < end; s += kLanes) {
    FloatVector x = hn::Load(d, scores + s);
    if constexpr (!kWhole) {
      x = mask->Apply(s, x,
                      hn::Set(d, -std::numeric_limits<float>::infinity()));
      hn::Store(x, d, scores + s);
    }
    largest = hn::Max(x, largest);
  }
  largest = hn::MaxOfLanes(d, largest);
  const float now = hn::GetLane(largest);
  const FloatVector scale = hn::Set(d, factor);
  FloatVector sum = hn::Load(d, sums);
  if (now != *running) {
    const FloatVector shrink =
        Exp2(hn::Mul(scale, hn::Sub(hn::Set(d, *running), largest)));
    for (int64_t i = 0; i < width; i += kLanes) {
      hn::Store(hn::Mul(shrink, hn::Load(d, y + i)), d, y + i);
    }
    sum = hn::Mul(shrink, sum);
    *running = now;
  }
  const FloatVector shift = hn::Mul(scale, largest);
  for (int64_t s = begin; s < end; s += kLanes) {
    const FloatVector p =
        Exp2(hn::MulSub(scale, hn::Load(d, scores + s), shift));
    hn::Store(p, d, scores + s);
    sum = hn::Add(sum, p);
  }
  hn::Store(sum, d, sums);
}

// Everything of one call.
template <typename T>
struct ForwardCall {
  HeadRows<const T> q, k, v;
  HeadRows<T> y;
  float* lse;
  Visibility visibility;
  int64_t queries, heads, group, size;
  double scale;
};

// The memory of one task, a part of one allocation.
struct ForwardScratch {
  explicit ForwardScratch(int64_t size)
      : width(RoundUpToLanes(size)),
        memory(Empty({kQueryBlock * 2 * width + kKeyBlock * 2 * width +
                      kQueryStrip * kKeyBlock + kQueryBlock * (kLanes + 1)},
                     DType::kF32)),
        q(memory.data<float>()),
        y(q + kQueryBlock * width),
        keys(y + kQueryBlock * width),
        values(keys + kKeyBlock * width),
        scores(values + kKeyBlock * width),
        sums(scores + kQueryStrip * kKeyBlock),
        largest(sums + kQueryBlock * kLanes) {}

  const int64_t width;
  const Tensor memory;
  float* const q;       // [kQueryBlock, width]
  float* const y;       // [kQueryBlock, width]
  float* const keys;    // [width, kKeyBlock], transposed.
  float* const values;  // [kKeyBlock, width]
  float* const scores;  // [kQueryStrip, kKeyBlock]
  // The running softmax of each query: sums of exponentials, one per lane,
  // relative to that of the largest score so far.
  float* const sums;     // [kQueryBlock, kLanes]
  float* const largest;  // [kQueryBlock]
};

// Adds what a strip of queries sees of a block of keys to its rows.
inline void ForwardStrip(const Visibility& visibility, int64_t batch,
                         const KeyBlock& block, const Strip& strip,
                         float factor, int64_t size, int64_t first_row,
                         const ForwardScratch& scratch, RowPrefetcher* next) {
  const int64_t width = scratch.width;
  const float* const q = scratch.q + first_row * width;
  float* const y = scratch.y + first_row * width;
  for (int g = 0; g < strip.count; ++g) {
    const QueryGroup& group = strip.groups[g];
    const int64_t at = group.first_column();
    next->Advance();
    Multiply(group.rows, group.columns(), size,
             Rows{q + group.row * width, width}, scratch.keys + at, kKeyBlock,
             false, scratch.scores + group.row * kKeyBlock + at, kKeyBlock);
  }
  for (int g = 0; g < strip.count; ++g) {
    const QueryGroup& group = strip.groups[g];
    const int64_t begin = group.first_column(), end = begin + group.columns();
    for (int64_t r = group.row; r < group.row + group.rows; ++r) {
      float* const scores = scratch.scores + r * kKeyBlock;
      float* const largest = scratch.largest + first_row + r;
      float* const sums = scratch.sums + (first_row + r) * kLanes;
      if (group.whole) {
        SoftmaxRow<true>(begin, end, nullptr, factor, scores, largest, sums,
                         y + r * width, width);
      } else {
        const ColumnMask mask(visibility, batch, strip.query + r, block);
        SoftmaxRow<false>(begin, end, &mask, factor, scores, largest, sums,
                          y + r * width, width);
      }
    }
  }
  for (int g = 0; g < strip.count; ++g) {
    const QueryGroup& group = strip.groups[g];
    next->Advance();
    Multiply(
        group.rows, width, group.end - group.begin,
        Rows{scratch.scores + group.row * kKeyBlock + group.begin, kKeyBlock},
        scratch.values + group.begin * width, width, true,
        y + group.row * width, width);
  }
}

// Queries [begin, begin + rows) of one head.
template <typename T>
void ForwardBlock(const ForwardCall<T>& call, int64_t batch, int64_t head,
                  int64_t begin, int64_t rows) {
  const int64_t size = call.size;
  const ForwardScratch scratch(size);
  const int64_t width = scratch.width;
  PackRows(call.q.At(batch, begin, head), call.q.stride(), rows, size, rows,
           width, scratch.q);
  std::fill_n(scratch.y, rows * width, 0.0f);
  std::fill_n(scratch.sums, rows * kLanes, 0.0f);
  std::fill_n(scratch.largest, rows, kLowest);
  const float factor = static_cast<float>(call.scale * 1.4426950408889634);

  const int64_t first = call.visibility.Keys(begin).begin;
  const int64_t last = call.visibility.Keys(begin + rows - 1).end;
  for (int64_t s = first / kKeyBlock * kKeyBlock; s < last; s += kKeyBlock) {
    const KeyBlock block(call.visibility, batch, s);
    const auto pack = [&](const HeadRows<const T>& from, float* to) {
      PackRows(from.At(batch, s, head / call.group), from.stride(), block.count,
               size, kKeyBlock, width, to);
    };
    pack(call.k, scratch.values);
    Transpose(kKeyBlock, width, scratch.values, width, scratch.keys, kKeyBlock);
    pack(call.v, scratch.values);
    const int64_t t = s + kKeyBlock,
                  n = std::clamp<int64_t>(last - t, 0, kKeyBlock);
    RowPrefetcher next({call.k.At(batch, t, head / call.group),
                        call.v.At(batch, t, head / call.group)},
                       call.k.stride() * sizeof(T), n, size * sizeof(T));
    for (int64_t r = 0; r < rows; r += kQueryStrip) {
      const Strip strip(call.visibility, batch, begin + r,
                        std::min(kQueryStrip, rows - r), block);
      ForwardStrip(call.visibility, batch, block, strip, factor, size, r,
                   scratch, &next);
    }
  }

  float* const lse =
      call.lse + (batch * call.heads + head) * call.queries + begin;
  for (int64_t r = 0; r < rows; ++r) {
    const FloatTag d;
    const float sum =
        hn::GetLane(hn::SumOfLanes(d, hn::Load(d, scratch.sums + r * kLanes)));
    const float inverse = 1.0f / sum;
    T* const to = call.y.At(batch, begin + r, head);
    const float* const from = scratch.y + r * width;
    for (int64_t i = 0; i < size; ++i) {
      to[i] = static_cast<T>(from[i] * inverse);
    }
    lse[r] =
        static_cast<float>(call.scale * scratch.largest[r] + std::log(sum));
  }
}

template <typename T>
void ForwardAll(const Heads& q, const Heads& k, const Heads& v, double scale,
                const AttentionMask& mask, Out y, Out lse) {
  const ForwardCall<T> call{HeadRows<const T>(q),
                            HeadRows<const T>(k),
                            HeadRows<const T>(v),
                            HeadRows<T>(*y),
                            lse->data<float>(),
                            Visibility(mask, q.data.dim(1), k.data.dim(1)),
                            q.data.dim(1),
                            q.count,
                            q.count / std::max<int64_t>(1, k.count),
                            q.data.dim(3),
                            scale};
  const int64_t heads = q.data.dim(0) * q.count;
  const int64_t blocks = NumChunks(call.queries, kQueryBlock);
  const double work =
      4.0 * heads * call.queries * call.visibility.keys * call.size;
  ParallelForEach(
      heads * blocks,
      [&](int64_t task) {
        const int64_t head = task % heads;
        // The longest first, so that no thread is left with one.
        const int64_t block = blocks - 1 - task / heads;
        const int64_t begin = block * call.queries / blocks;
        const int64_t end = (block + 1) * call.queries / blocks;
        ForwardBlock(call, head / call.heads, head % call.heads, begin,
                     end - begin);
      },
      work);
}

void Attention(const Heads& q, const Heads& k, const Heads& v, double scale,
               const AttentionMask& mask, Out y, Out lse) {
  NW_CHECK(scale > 0) << "attention: scale " << scale;
  DispatchFloat(q.data.dtype(), "attention", [&](auto tag) {
    using T = decltype(tag);
    if constexpr (std::is_same_v<T, double>) {
      AttentionF64(q, k, v, scale, mask, y, lse);
    } else {
      ForwardAll<T>(q, k, v, scale, mask, y, lse);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nextword::kernels {
namespace {
NW_REGISTER_CPU(attention, Attention);
}  // namespace
}  // namespace nextword::kernels
#endif  // HWY_ONCE

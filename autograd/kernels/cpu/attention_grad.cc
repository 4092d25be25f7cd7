// Gradient of fused attention: probabilities are made again, block by block,
// from the logarithms of their sums. One pass over all pairs of blocks, in
// which no product is computed twice (after Dao et al. 2022, FlashAttention).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/attention_grad.cc"
#include "hwy/foreach_target.h"

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

// Everything of one call.
template <typename T>
struct GradCall {
  HeadRows<const T> q, k, v, y, dy;
  const float* lse;
  HeadRows<T> dq, dk, dv;
  Visibility visibility;
  int64_t queries, stored_keys, heads, kv_heads, group, size;
  float scale;
};

// The memory of one task, a part of one allocation.
struct GradScratch {
  GradScratch(int64_t queries, int64_t num_keys, int64_t size)
      : width(RoundUpToLanes(size)),
        memory(Empty(
            {(3 * queries + 2 * RoundUpToBlock(num_keys)) * width +
             4 * kKeyBlock * width + 2 * kQueryStrip * kKeyBlock + 2 * queries},
            DType::kF32)),
        dq(memory.data<float>()),
        q(dq + queries * width),
        dy(q + queries * width),
        dk(dy + queries * width),
        dv(dk + RoundUpToBlock(num_keys) * width),
        keys_transposed(dv + RoundUpToBlock(num_keys) * width),
        values_transposed(keys_transposed + kKeyBlock * width),
        keys(values_transposed + kKeyBlock * width),
        values(keys + kKeyBlock * width),
        p(values + kKeyBlock * width),
        ds(p + kQueryStrip * kKeyBlock),
        lse(ds + kQueryStrip * kKeyBlock),
        dot(lse + queries) {}

  static int64_t RoundUpToBlock(int64_t n) {
    return NumChunks(n, kKeyBlock) * kKeyBlock;
  }

  const int64_t width;
  const Tensor memory;
  float* const dq;  // [queries, width], of one head.
  float* const q;
  float* const dy;
  float* const dk;  // [keys, width]
  float* const dv;
  float* const keys_transposed;  // Of a block: [width, kKeyBlock]
  float* const values_transposed;
  float* const keys;  // [kKeyBlock, width]
  float* const values;
  float* const p;  // Of a strip: [kQueryStrip, kKeyBlock]
  float* const ds;
  float* const lse;  // [queries], in powers of two.
  float* const dot;  // [queries], dy . y
};

// In: scores in p, dy v' in ds, of columns [begin, end). Out: p = softmax, ds =
// p (ds - dot), of the whole row, zero where nothing is seen.
template <bool kWhole>
HWY_INLINE void ScoreGradRow(int64_t begin, int64_t end, const ColumnMask* mask,
                             float factor, float lse, float dot,
                             float* HWY_RESTRICT p, float* HWY_RESTRICT ds) {
  const FloatTag d;
  const FloatVector scale = hn::Set(d, factor), shift = hn::Set(d, lse);
  const FloatVector mean = hn::Set(d, dot);
  if constexpr (kWhole) begin = 0, end = kKeyBlock;
  for (int64_t s = begin; s < end; s += kLanes) {
    FloatVector x = Exp2(hn::MulSub(scale, hn::Load(d, p + s), shift));
    if constexpr (!kWhole) x = mask->Apply(s, x, hn::Zero(d));
    hn::Store(x, d, p + s);
    hn::Store(hn::Mul(x, hn::Sub(hn::Load(d, ds + s), mean)), d, ds + s);
  }
  if constexpr (!kWhole) {
    std::fill(p, p + begin, 0.0f);
    std::fill(ds, ds + begin, 0.0f);
    std::fill(p + end, p + kKeyBlock, 0.0f);
    std::fill(ds + end, ds + kKeyBlock, 0.0f);
  }
}

// Rows of one head in float, padded: x [rows, size] of any type.
template <typename T>
void StoreRows(const float* from, int64_t width, int64_t rows, int64_t size,
               float scale, T* to, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r, from += width, to += stride) {
    for (int64_t i = 0; i < size; ++i) to[i] = static_cast<T>(scale * from[i]);
  }
}

// All gradients of one (batch, key head): its query heads one after the other,
// so that dk and dv add up in a fixed order.
template <typename T>
class HeadGrad {
 public:
  HeadGrad(const GradCall<T>& call, int64_t batch, int64_t kv_head)
      : call_(call),
        batch_(batch),
        kv_head_(kv_head),
        factor_(call.scale * 1.44269504f),
        scratch_(call.queries, call.visibility.keys, call.size) {}

  void Run() {
    const int64_t keys = call_.visibility.keys, width = scratch_.width;
    const int64_t padded = GradScratch::RoundUpToBlock(keys);
    std::fill_n(scratch_.dk, 2 * padded * width, 0.0f);
    for (int64_t g = 0; g < call_.group; ++g) {
      const int64_t head = kv_head_ * call_.group + g;
      std::fill_n(scratch_.dq, call_.queries * width, 0.0f);
      ReadQueries(head);
      for (int64_t s = 0; s < keys; s += kKeyBlock) AddBlock(s);
      StoreRows(scratch_.dq, width, call_.queries, call_.size, call_.scale,
                call_.dq.At(batch_, 0, head), call_.dq.stride());
    }
    StoreKeys(scratch_.dk, call_.scale, call_.dk);
    StoreKeys(scratch_.dv, 1, call_.dv);
  }

 private:
  void ReadQueries(int64_t head) {
    const int64_t n = call_.queries, size = call_.size, width = scratch_.width;
    PackRows(call_.q.At(batch_, 0, head), call_.q.stride(), n, size, n, width,
             scratch_.q);
    PackRows(call_.dy.At(batch_, 0, head), call_.dy.stride(), n, size, n, width,
             scratch_.dy);
    const float* const lse = call_.lse + (batch_ * call_.heads + head) * n;
    for (int64_t t = 0; t < n; ++t) {
      const T* const y = call_.y.At(batch_, t, head);
      const float* const dy = scratch_.dy + t * width;
      scratch_.lse[t] = lse[t] * 1.44269504f;
      scratch_.dot[t] = LaneSum<float>(
          size, [=](int64_t i) { return dy[i] * static_cast<float>(y[i]); });
    }
  }

  // Adds what one query head sees of the keys from `first` on.
  void AddBlock(int64_t first) {
    const KeyBlock block(call_.visibility, batch_, first);
    const int64_t width = scratch_.width;
    const auto pack = [&](const HeadRows<const T>& from, float* to,
                          float* transposed) {
      PackRows(from.At(batch_, first, kv_head_), from.stride(), block.count,
               call_.size, kKeyBlock, width, to);
      Transpose(kKeyBlock, width, to, width, transposed, kKeyBlock);
    };
    pack(call_.k, scratch_.keys, scratch_.keys_transposed);
    pack(call_.v, scratch_.values, scratch_.values_transposed);
    const int64_t begin = call_.visibility.Queries(first, call_.queries).begin;
    const int64_t end =
        call_.visibility.Queries(first + block.count - 1, call_.queries).end;
    for (int64_t t = begin; t < end; t += kQueryStrip) {
      AddStrip(block, t, std::min(kQueryStrip, end - t));
    }
  }

  void AddStrip(const KeyBlock& block, int64_t t, int64_t rows) {
    const Strip strip(call_.visibility, batch_, t, rows, block);
    if (strip.count == 0) return;
    const int64_t width = scratch_.width;
    for (int g = 0; g < strip.count; ++g) {
      const QueryGroup& group = strip.groups[g];
      const int64_t from = (t + group.row) * width, at = group.first_column();
      const int64_t to = group.row * kKeyBlock + at;
      Multiply(group.rows, group.columns(), call_.size,
               Rows{scratch_.q + from, width}, scratch_.keys_transposed + at,
               kKeyBlock, false, scratch_.p + to, kKeyBlock);
      Multiply(group.rows, group.columns(), call_.size,
               Rows{scratch_.dy + from, width}, scratch_.values_transposed + at,
               kKeyBlock, false, scratch_.ds + to, kKeyBlock);
    }
    for (int g = 0; g < strip.count; ++g) {
      ScoreGradGroup(strip.groups[g], t, block);
    }
    for (int g = 0; g < strip.count; ++g) {
      const QueryGroup& group = strip.groups[g];
      Multiply(
          group.rows, width, group.end - group.begin,
          Rows{scratch_.ds + group.row * kKeyBlock + group.begin, kKeyBlock},
          scratch_.keys + group.begin * width, width, true,
          scratch_.dq + (t + group.row) * width, width);
    }
    AddToKeys(strip, block);
  }

  void ScoreGradGroup(const QueryGroup& group, int64_t t,
                      const KeyBlock& block) {
    const int64_t begin = group.first_column(), end = begin + group.columns();
    for (int64_t r = group.row; r < group.row + group.rows; ++r) {
      float* const p = scratch_.p + r * kKeyBlock;
      float* const ds = scratch_.ds + r * kKeyBlock;
      const float lse = scratch_.lse[t + r], dot = scratch_.dot[t + r];
      if (group.whole) {
        ScoreGradRow<true>(begin, end, nullptr, factor_, lse, dot, p, ds);
      } else {
        const ColumnMask mask(call_.visibility, batch_, t + r, block);
        ScoreGradRow<false>(begin, end, &mask, factor_, lse, dot, p, ds);
      }
    }
  }

  // dk += ds' q and dv += p' dy, by runs of groups without a gap.
  void AddToKeys(const Strip& strip, const KeyBlock& block) {
    const int64_t tiles = NumChunks(block.count, kTileRows);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t key = tile * block.count / tiles;
      const int64_t next = (tile + 1) * block.count / tiles;
      for (int g = 0; g < strip.count;) {
        const QueryGroup& first = strip.groups[g];
        if (first.end <= key || first.begin >= next) {
          ++g;
          continue;
        }
        int64_t end = first.row;
        while (g < strip.count && strip.groups[g].row == end &&
               strip.groups[g].begin < next) {
          end += strip.groups[g++].rows;
        }
        AddRows(strip.query, first.row, end - first.row, block.begin + key,
                next - key);
      }
    }
  }

  // The part of rows [row, row + rows) of the strip for a tile of keys.
  void AddRows(int64_t query, int64_t row, int64_t rows, int64_t key,
               int64_t keys) {
    const int64_t width = scratch_.width;
    const int64_t from = (query + row) * width;
    const int64_t at = row * kKeyBlock + key % kKeyBlock;
    Multiply(keys, width, rows, Columns{scratch_.ds + at, kKeyBlock},
             scratch_.q + from, width, true, scratch_.dk + key * width, width);
    Multiply(keys, width, rows, Columns{scratch_.p + at, kKeyBlock},
             scratch_.dy + from, width, true, scratch_.dv + key * width, width);
  }

  void StoreKeys(const float* from, float scale, const HeadRows<T>& to) const {
    const int64_t keys = call_.visibility.keys;
    StoreRows(from, scratch_.width, keys, call_.size, scale,
              to.At(batch_, 0, kv_head_), to.stride());
    for (int64_t s = keys; s < call_.stored_keys; ++s) {
      std::fill_n(to.At(batch_, s, kv_head_), call_.size, T(0.0f));
    }
  }

  const GradCall<T>& call_;
  const int64_t batch_, kv_head_;
  const float factor_;
  const GradScratch scratch_;
};

template <typename T>
void GradAll(const Heads& q, const Heads& k, const Heads& v, In y, In lse,
             In dy, double scale, const AttentionMask& mask, const Heads& dq,
             const Heads& dk, const Heads& dv) {
  const GradCall<T> call{HeadRows<const T>(q),
                         HeadRows<const T>(k),
                         HeadRows<const T>(v),
                         HeadRows<const T>(y),
                         HeadRows<const T>(dy),
                         lse.data<float>(),
                         HeadRows<T>(dq),
                         HeadRows<T>(dk),
                         HeadRows<T>(dv),
                         Visibility(mask, q.data.dim(1), k.data.dim(1)),
                         q.data.dim(1),
                         k.data.dim(1),
                         q.count,
                         k.count,
                         q.count / std::max<int64_t>(1, k.count),
                         q.data.dim(3),
                         static_cast<float>(scale)};
  const double work = 10.0 * q.data.dim(0) * call.heads * call.queries *
                      call.visibility.keys * call.size;
  ParallelForEach(
      q.data.dim(0) * k.count,
      [&](int64_t task) {
        HeadGrad<T>(call, task / call.kv_heads, task % call.kv_heads).Run();
      },
      work);
}

void AttentionGrad(const Heads& q, const Heads& k, const Heads& v, In y, In lse,
                   In dy, double scale, const AttentionMask& mask,
                   const Heads& dq, const Heads& dk, const Heads& dv) {
  DispatchFloat(q.data.dtype(), "attention gradient", [&](auto tag) {
    using T = decltype(tag);
    if constexpr (std::is_same_v<T, double>) {
      AttentionGradF64(q, k, v, y, lse, dy, scale, mask, dq, dk, dv);
    } else {
      GradAll<T>(q, k, v, y, lse, dy, scale, mask, dq, dk, dv);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nextword::kernels {
namespace {
NW_REGISTER_CPU(attention_grad, AttentionGrad);
}  // namespace
}  // namespace nextword::kernels
#endif  // HWY_ONCE

// Fused attention: strips of 64 queries against all keys that they see, so
// that no T x S matrix is ever kept (after Dao et al. 2022, FlashAttention).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/attention.cc"
#include "hwy/foreach_target.h"

#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "autograd/kernels/cpu/gemm.h"
#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/cpu/register.h"
#include "autograd/kernels/math.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

constexpr int64_t kStrip = 64;

struct KeyRange {
  int64_t begin, end;
};

// AttentionMask with its zeros resolved, for T queries.
struct Visibility {
  Visibility(const AttentionMask& mask, int64_t queries, int64_t stored_keys)
      : keys(mask.keys > 0 ? mask.keys : stored_keys),
        offset(keys - queries),
        window(mask.window > 0 ? mask.window : keys),
        stored(stored_keys),
        documents(mask.documents.defined() ? mask.documents.data<int32_t>()
                                           : nullptr) {}

  // Keys that query t may see, documents aside.
  KeyRange Keys(int64_t t) const {
    const int64_t position = t + offset;
    return {std::max<int64_t>(0, position - window + 1), position + 1};
  }

  // Sets masked entries of query t's scores to minus infinity; `scores` starts
  // at key `first` and ends before `last`.
  template <typename C>
  void Mask(int64_t batch, int64_t t, int64_t first, int64_t last,
            C* scores) const {
    constexpr C kMasked = -std::numeric_limits<C>::infinity();
    const KeyRange visible = Keys(t);
    std::fill(scores, scores + std::max<int64_t>(0, visible.begin - first),
              kMasked);
    std::fill(scores + (visible.end - first), scores + (last - first), kMasked);
    if (documents == nullptr) return;
    const int32_t* const ids = documents + batch * stored;
    const int32_t own = ids[t + offset];
    for (int64_t s = visible.begin; s < visible.end; ++s) {
      if (ids[s] != own) scores[s - first] = kMasked;
    }
  }

  int64_t keys, offset, window, stored;
  const int32_t* documents;
};

// Rows of one head in the compute type: in place, or converted from bf16.
template <typename T>
class HeadRows {
  using C = ComputeType<T>;

 public:
  HeadRows(const T* data, int64_t stride, int64_t rows, int64_t size) {
    if constexpr (std::is_same_v<T, C>) {
      view_ = {data, stride};
    } else {
      copy_.resize(rows * size);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < size; ++i) {
          copy_[r * size + i] = static_cast<C>(data[r * stride + i]);
        }
      }
      view_ = {copy_.data(), size};
    }
  }

  MatrixView<C> From(int64_t row) const { return view_.At(row, 0); }
  MatrixView<C> Transposed(int64_t row) const {
    MatrixView<C> view = From(row);
    view.transposed = true;
    return view;
  }
  const C* Row(int64_t row) const { return From(row).data; }

 private:
  std::vector<C> copy_;
  MatrixView<C> view_;
};

// A buffer of at least n elements that the thread keeps for its next strip.
template <typename C, int kWhich>
C* Scratch(int64_t n) {
  thread_local std::vector<C> buffer;
  if (static_cast<int64_t>(buffer.size()) < n) buffer.resize(n);
  return buffer.data();
}

// x = exp(x - shift); returns the sum.
template <typename C>
C ExpRow(C* __restrict x, C shift, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = math::Exp(x[i] - shift);
  return LaneSum<C>(n, [=](int64_t i) { return x[i]; });
}

// The sizes of one call.
struct Sizes {
  Sizes(In q, In k)
      : batch(q.dim(0)),
        queries(q.dim(1)),
        heads(q.dim(2)),
        size(q.dim(3)),
        stored_keys(k.dim(1)),
        kv_heads(k.dim(2)),
        group(heads / kv_heads) {}

  // First element of (batch b, head h) in q- or k-shaped tensors.
  int64_t Query(int64_t b, int64_t h) const {
    return (b * queries * heads + h) * size;
  }
  int64_t Key(int64_t b, int64_t h) const {
    return (b * stored_keys * kv_heads + h) * size;
  }
  int64_t query_stride() const { return heads * size; }
  int64_t key_stride() const { return kv_heads * size; }

  int64_t batch, queries, heads, size, stored_keys, kv_heads, group;
};

template <typename T>
void ForwardStrip(const Sizes& n, const Visibility& visibility, int64_t b,
                  int64_t h, int64_t begin, const T* q, const T* k, const T* v,
                  double scale, T* y, ComputeType<T>* lse) {
  using C = ComputeType<T>;
  const int64_t end = std::min(n.queries, begin + kStrip);
  const int64_t rows = end - begin;
  const int64_t first = visibility.Keys(begin).begin;
  const int64_t last = visibility.Keys(end - 1).end;
  const int64_t keys = last - first;
  const int64_t qs = n.query_stride(), ks = n.key_stride();
  const HeadRows<T> query(q + n.Query(b, h) + begin * qs, qs, rows, n.size);
  const int64_t key = n.Key(b, h / n.group) + first * ks;
  const HeadRows<T> keys_rows(k + key, ks, keys, n.size);
  const HeadRows<T> values(v + key, ks, keys, n.size);

  C* const p = Scratch<C, 0>(rows * keys);
  SerialGemm<C>(rows, keys, n.size, scale, query.From(0),
                keys_rows.Transposed(0), 0.0, p, keys);
  C inverse[kStrip];
  for (int64_t i = 0; i < rows; ++i) {
    C* const row = p + i * keys;
    visibility.Mask(b, begin + i, first, last, row);
    const C largest = LaneMax<C>(keys, -std::numeric_limits<C>::infinity(),
                                 [=](int64_t s) { return row[s]; });
    const C sum = ExpRow(row, largest, keys);
    inverse[i] = C(1) / sum;
    lse[(b * n.heads + h) * n.queries + begin + i] = largest + std::log(sum);
  }
  C* const out = Scratch<C, 1>(rows * n.size);
  SerialGemm<C>(rows, n.size, keys, 1.0, {p, keys}, values.From(0), 0.0, out,
                n.size);
  for (int64_t i = 0; i < rows; ++i) {
    T* const to = y + n.Query(b, h) + (begin + i) * qs;
    for (int64_t d = 0; d < n.size; ++d) {
      to[d] = static_cast<T>(out[i * n.size + d] * inverse[i]);
    }
  }
}

void Attention(In q, In k, In v, double scale, const AttentionMask& mask, Out y,
               Out lse) {
  const Sizes n(q, k);
  const Visibility visibility(mask, n.queries, n.stored_keys);
  const int64_t strips = NumChunks(n.queries, kStrip);
  DispatchFloat(q.dtype(), "attention", [&](auto tag) {
    using T = decltype(tag);
    const double work =
        4.0 * n.batch * n.queries * n.heads * visibility.keys * n.size;
    const auto run_strip = [&](int64_t task) {
      const int64_t head = task / strips;
      // The longest strips first, so that no thread is left with one.
      const int64_t strip = strips - 1 - task % strips;
      ForwardStrip<T>(n, visibility, head / n.heads, head % n.heads,
                      strip * kStrip, q.data<T>(), k.data<T>(), v.data<T>(),
                      scale, y->data<T>(), lse->data<ComputeType<T>>());
    };
    ParallelForEach(n.batch * n.heads * strips, run_strip, work);
  });
}

// All gradients of one (batch, key head): its query heads one after the other,
// so that dk and dv add up in a fixed order.
template <typename T>
class HeadGradient {
  using C = ComputeType<T>;

 public:
  HeadGradient(const Sizes& n, const Visibility& visibility, double scale,
               int64_t b, int64_t kv_head, const T* k, const T* v)
      : n_(n),
        visibility_(visibility),
        scale_(scale),
        b_(b),
        kv_head_(kv_head),
        keys_(k + n.Key(b, kv_head), n.key_stride(), visibility.keys, n.size),
        values_(v + n.Key(b, kv_head), n.key_stride(), visibility.keys, n.size),
        dk_(n.stored_keys * n.size),
        dv_(n.stored_keys * n.size) {}

  void AddStrip(int64_t h, int64_t begin, const T* q, const T* y, const C* lse,
                const T* dy, T* dq) {
    const int64_t end = std::min(n_.queries, begin + kStrip);
    const int64_t rows = end - begin;
    const int64_t first = visibility_.Keys(begin).begin;
    const int64_t last = visibility_.Keys(end - 1).end;
    const int64_t keys = last - first;
    const int64_t qs = n_.query_stride();
    const int64_t at = n_.Query(b_, h) + begin * qs;
    const HeadRows<T> query(q + at, qs, rows, n_.size);
    const HeadRows<T> output(y + at, qs, rows, n_.size);
    const HeadRows<T> d_output(dy + at, qs, rows, n_.size);

    C* const p = Scratch<C, 2>(rows * keys);
    C* const ds = Scratch<C, 3>(rows * keys);
    SerialGemm<C>(rows, keys, n_.size, scale_, query.From(0),
                  keys_.Transposed(first), 0.0, p, keys);
    SerialGemm<C>(rows, keys, n_.size, 1.0, d_output.From(0),
                  values_.Transposed(first), 0.0, ds, keys);
    for (int64_t i = 0; i < rows; ++i) {
      visibility_.Mask(b_, begin + i, first, last, p + i * keys);
      ScoreGradRow(p + i * keys, ds + i * keys,
                   lse[(b_ * n_.heads + h) * n_.queries + begin + i],
                   output.Row(i), d_output.Row(i), keys);
    }
    C* const out = Scratch<C, 4>(rows * n_.size);
    SerialGemm<C>(rows, n_.size, keys, scale_, {ds, keys}, keys_.From(first),
                  0.0, out, n_.size);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t d = 0; d < n_.size; ++d) {
        dq[at + i * qs + d] = static_cast<T>(out[i * n_.size + d]);
      }
    }
    SerialGemm<C>(keys, n_.size, rows, scale_, {ds, keys, true}, query.From(0),
                  1.0, dk_.data() + first * n_.size, n_.size);
    SerialGemm<C>(keys, n_.size, rows, 1.0, {p, keys, true}, d_output.From(0),
                  1.0, dv_.data() + first * n_.size, n_.size);
  }

  void Store(T* dk, T* dv) const {
    const int64_t at = n_.Key(b_, kv_head_);
    for (int64_t s = 0; s < n_.stored_keys; ++s) {
      for (int64_t d = 0; d < n_.size; ++d) {
        const int64_t to = at + s * n_.key_stride() + d;
        dk[to] = static_cast<T>(dk_[s * n_.size + d]);
        dv[to] = static_cast<T>(dv_[s * n_.size + d]);
      }
    }
  }

 private:
  // In: scores in p, dy v' in ds. Out: p = softmax, ds = p (ds - dy . y).
  void ScoreGradRow(C* __restrict p, C* __restrict ds, C lse,
                    const C* __restrict y, const C* __restrict dy,
                    int64_t keys) const {
    const C dot = LaneSum<C>(n_.size, [=](int64_t d) { return dy[d] * y[d]; });
    for (int64_t s = 0; s < keys; ++s) {
      p[s] = math::Exp(p[s] - lse);
      ds[s] = p[s] * (ds[s] - dot);
    }
  }

  const Sizes& n_;
  const Visibility& visibility_;
  const double scale_;
  const int64_t b_, kv_head_;
  const HeadRows<T> keys_, values_;
  std::vector<C> dk_, dv_;
};

void AttentionGrad(In q, In k, In v, In y, In lse, In dy, double scale,
                   const AttentionMask& mask, Out dq, Out dk, Out dv) {
  const Sizes n(q, k);
  const Visibility visibility(mask, n.queries, n.stored_keys);
  DispatchFloat(q.dtype(), "attention gradient", [&](auto tag) {
    using T = decltype(tag);
    ParallelForEach(n.batch * n.kv_heads, [&](int64_t task) {
      const int64_t b = task / n.kv_heads, kv_head = task % n.kv_heads;
      HeadGradient<T> gradient(n, visibility, scale, b, kv_head, k.data<T>(),
                               v.data<T>());
      for (int64_t h = kv_head * n.group; h < (kv_head + 1) * n.group; ++h) {
        for (int64_t begin = 0; begin < n.queries; begin += kStrip) {
          gradient.AddStrip(h, begin, q.data<T>(), y.data<T>(),
                            lse.data<ComputeType<T>>(), dy.data<T>(),
                            dq->data<T>());
        }
      }
      gradient.Store(dk->data<T>(), dv->data<T>());
    });
  });
}

void MaskedSoftmax(In x, const AttentionMask& mask, Out y) {
  const int64_t queries = x.dim(2), keys = x.dim(3);
  const Visibility visibility(mask, queries, keys);
  DispatchFloat(x.dtype(), "masked_softmax", [&](auto tag) {
    using T = decltype(tag);
    using C = ComputeType<T>;
    const T* const px = x.data<T>();
    T* const py = y->data<T>();
    ParallelFor(x.dim(0) * x.dim(1) * queries, RowsPerTask(keys),
                [&](int64_t begin, int64_t end) {
                  for (int64_t r = begin; r < end; ++r) {
                    C* const row = Scratch<C, 5>(keys);
                    for (int64_t s = 0; s < keys; ++s) {
                      row[s] = static_cast<C>(px[r * keys + s]);
                    }
                    visibility.Mask(r / (x.dim(1) * queries), r % queries, 0,
                                    keys, row);
                    const C largest =
                        LaneMax<C>(keys, -std::numeric_limits<C>::infinity(),
                                   [=](int64_t s) { return row[s]; });
                    const C inverse = C(1) / ExpRow(row, largest, keys);
                    for (int64_t s = 0; s < keys; ++s) {
                      py[r * keys + s] = static_cast<T>(row[s] * inverse);
                    }
                  }
                });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nextword::kernels {
namespace {
NW_REGISTER_CPU(attention, Attention);
NW_REGISTER_CPU(attention_grad, AttentionGrad);
NW_REGISTER_CPU(masked_softmax, MaskedSoftmax);
}  // namespace
}  // namespace nextword::kernels
#endif  // HWY_ONCE

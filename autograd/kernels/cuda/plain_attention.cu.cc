// A warp per query; for the gradients of keys and values, a warp per key. Its
// lanes take 32 partners at a time: each the scores of one, then each a part of
// the head's elements. Nothing is ever added by two warps, so sums have one
// order and no matrix of scores exists.
#include "autograd/kernels/cuda/plain_attention.h"

#include <limits>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/head_rows.h"
#include "autograd/kernels/math.h"
#include "autograd/kernels/visibility.h"

namespace nextword::kernels::cuda {
namespace {

constexpr int kWarps = 4;                   // Of a block.
constexpr int kMaxSize = kMaxGpuHeadSize;   // Elements of a head.
constexpr int kMaxPart = kMaxSize / kWarp;  // Those that one lane sums.

// Sizes, and how queries see keys.
struct AttentionShape {
  AttentionShape(const Heads& q, const Heads& k, double scale,
                 const AttentionMask& mask)
      : batch(q.data.dim(0)),
        queries(q.data.dim(1)),
        keys(k.data.dim(1)),
        heads(q.count),
        kv_heads(k.count),
        size(q.data.dim(3)),
        scale(static_cast<float>(scale)),
        visibility(mask, queries, keys) {
    NW_CHECK_LE(size, kMaxSize) << "attention: elements of a head";
  }

  int64_t batch, queries, keys, heads, kv_heads, size;
  float scale;
  Visibility visibility;
};

// kWarps items a block.
Grid GridForWarps(int64_t items, Device device) {
  return GridForRows((items + kWarps - 1) / kWarps, kWarps * kWarp, device);
}

// Calls f(i) for all i in [0, n), spread over the warps of the grid.
template <typename F>
NW_DEVICE void ForEachWarpItem(int64_t n, const F& f) {
  const int64_t warp = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  for (int64_t i = warp; i < n; i += int64_t{gridDim.x} * kWarps) f(i);
}

NW_DEVICE int Lane() { return threadIdx.x % kWarp; }

// A row that all lanes of a warp read.
using SharedRow = float[kMaxSize];

template <typename T>
NW_DEVICE void LoadRow(const T* from, int64_t size, float* to) {
  __syncwarp();  // All lanes are done with the row before.
  for (int64_t i = Lane(); i < size; i += kWarp) {
    to[i] = static_cast<float>(from[i]);
  }
  __syncwarp();
}

template <typename T>
NW_DEVICE float Dot(const float* a, const T* b, int64_t size) {
  float sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += a[i] * static_cast<float>(b[i]);
  return sum;
}

// The elements of a row that a lane sums: lane, lane + 32, ...
struct Part {
  // Adds what all lanes bring: the sum over j of weight_j times row(j).
  template <typename Row>
  NW_DEVICE void Add(float weight, int count, int64_t size, const Row& row) {
    for (int j = 0; j < count; ++j) {
      const float other = __shfl_sync(0xffffffffu, weight, j);
      const auto* const from = row(j);
      for (int i = 0; i < kMaxPart; ++i) {
        const int64_t at = Lane() + i * kWarp;
        if (at < size) sums[i] += other * static_cast<float>(from[at]);
      }
    }
  }

  NW_DEVICE void Scale(float factor) {
    for (int i = 0; i < kMaxPart; ++i) sums[i] *= factor;
  }

  template <typename T>
  NW_DEVICE void Store(int64_t size, T* to) const {
    for (int i = 0; i < kMaxPart; ++i) {
      const int64_t at = Lane() + i * kWarp;
      if (at < size) to[at] = static_cast<T>(sums[i]);
    }
  }

  float sums[kMaxPart] = {};
};

template <typename T>
__global__ void AttentionKernel(AttentionShape shape, HeadRows<const T> q,
                                HeadRows<const T> k, HeadRows<const T> v,
                                HeadRows<T> y, float* lse) {
  __shared__ SharedRow rows[kWarps];
  float* const query = rows[threadIdx.x / kWarp];
  ForEachWarpItem(shape.batch * shape.heads * shape.queries, [&](int64_t item) {
    const int64_t t = item % shape.queries;
    const int64_t h = item / shape.queries % shape.heads;
    const int64_t b = item / shape.queries / shape.heads;
    const int64_t kv = h / (shape.heads / shape.kv_heads);
    LoadRow(q.At(b, t, h), shape.size, query);
    const KeyRange visible = shape.visibility.Keys(t);
    float largest = -std::numeric_limits<float>::infinity(), sum = 0;
    Part part;
    for (int64_t s = visible.begin; s < visible.end; s += kWarp) {
      const int64_t own = s + Lane();
      const bool sees = own < visible.end && shape.visibility.Sees(b, t, own);
      const float score =
          sees ? shape.scale * Dot(query, k.At(b, own, kv), shape.size)
               : -std::numeric_limits<float>::infinity();
      const float most = CombineWarp(score, MaxOf());
      if (most == -std::numeric_limits<float>::infinity()) continue;
      const float now = MaxOf()(largest, most);
      const float before = math::Exp(largest - now);
      const float p = sees ? math::Exp(score - now) : 0.0f;
      largest = now;
      sum = sum * before + CombineWarp(p, SumOf());
      part.Scale(before);
      const int count =
          static_cast<int>(visible.end - s < kWarp ? visible.end - s : kWarp);
      part.Add(p, count, shape.size, [&](int j) { return v.At(b, s + j, kv); });
    }
    part.Scale(1.0f / sum);
    part.Store(shape.size, y.At(b, t, h));
    if (Lane() == 0) lse[item] = largest + logf(sum);
  });
}

// dots [B, H, T]: y dy, summed over the elements of each row.
template <typename T>
__global__ void RowDotsKernel(AttentionShape shape, HeadRows<const T> y,
                              HeadRows<const T> dy, float* dots) {
  ForEachWarpItem(shape.batch * shape.heads * shape.queries, [&](int64_t item) {
    const int64_t t = item % shape.queries;
    const int64_t h = item / shape.queries % shape.heads;
    const int64_t b = item / shape.queries / shape.heads;
    const T* const py = y.At(b, t, h);
    const T* const pdy = dy.At(b, t, h);
    float sum = 0;
    for (int64_t i = Lane(); i < shape.size; i += kWarp) {
      sum += static_cast<float>(py[i]) * static_cast<float>(pdy[i]);
    }
    sum = CombineWarp(sum, SumOf());
    if (Lane() == 0) dots[item] = sum;
  });
}

template <typename T>
__global__ void QueryGradKernel(AttentionShape shape, HeadRows<const T> q,
                                HeadRows<const T> k, HeadRows<const T> v,
                                HeadRows<const T> dy, const float* lse,
                                const float* dots, HeadRows<T> dq) {
  __shared__ SharedRow rows[2 * kWarps];
  float* const query = rows[threadIdx.x / kWarp];
  float* const d_y = rows[kWarps + threadIdx.x / kWarp];
  ForEachWarpItem(shape.batch * shape.heads * shape.queries, [&](int64_t item) {
    const int64_t t = item % shape.queries;
    const int64_t h = item / shape.queries % shape.heads;
    const int64_t b = item / shape.queries / shape.heads;
    const int64_t kv = h / (shape.heads / shape.kv_heads);
    LoadRow(q.At(b, t, h), shape.size, query);
    LoadRow(dy.At(b, t, h), shape.size, d_y);
    const KeyRange visible = shape.visibility.Keys(t);
    Part part;
    for (int64_t s = visible.begin; s < visible.end; s += kWarp) {
      const int64_t own = s + Lane();
      float d_score = 0;
      if (own < visible.end && shape.visibility.Sees(b, t, own)) {
        const float p = math::Exp(
            shape.scale * Dot(query, k.At(b, own, kv), shape.size) - lse[item]);
        d_score = shape.scale * p *
                  (Dot(d_y, v.At(b, own, kv), shape.size) - dots[item]);
      }
      const int count =
          static_cast<int>(visible.end - s < kWarp ? visible.end - s : kWarp);
      part.Add(d_score, count, shape.size,
               [&](int j) { return k.At(b, s + j, kv); });
    }
    part.Store(shape.size, dq.At(b, t, h));
  });
}

template <typename T>
__global__ void KeyGradKernel(AttentionShape shape, HeadRows<const T> q,
                              HeadRows<const T> k, HeadRows<const T> v,
                              HeadRows<const T> dy, const float* lse,
                              const float* dots, HeadRows<T> dk,
                              HeadRows<T> dv) {
  __shared__ SharedRow rows[2 * kWarps];
  float* const key = rows[threadIdx.x / kWarp];
  float* const value = rows[kWarps + threadIdx.x / kWarp];
  const int64_t group = shape.heads / shape.kv_heads;
  ForEachWarpItem(shape.batch * shape.kv_heads * shape.keys, [&](int64_t item) {
    const int64_t s = item % shape.keys;
    const int64_t kv = item / shape.keys % shape.kv_heads;
    const int64_t b = item / shape.keys / shape.kv_heads;
    LoadRow(k.At(b, s, kv), shape.size, key);
    LoadRow(v.At(b, s, kv), shape.size, value);
    Part d_key, d_value;
    // Keys that are not valid yet have no queries.
    const KeyRange seen = s < shape.visibility.keys
                              ? shape.visibility.Queries(s, shape.queries)
                              : KeyRange{0, 0};
    for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      const int64_t row = (b * shape.heads + h) * shape.queries;
      for (int64_t t = seen.begin; t < seen.end; t += kWarp) {
        const int64_t own = t + Lane();
        float p = 0, d_score = 0;
        if (own < seen.end && shape.visibility.Sees(b, own, s)) {
          p = math::Exp(shape.scale * Dot(key, q.At(b, own, h), shape.size) -
                        lse[row + own]);
          d_score =
              shape.scale * p *
              (Dot(value, dy.At(b, own, h), shape.size) - dots[row + own]);
        }
        const int count =
            static_cast<int>(seen.end - t < kWarp ? seen.end - t : kWarp);
        d_value.Add(p, count, shape.size,
                    [&](int j) { return dy.At(b, t + j, h); });
        d_key.Add(d_score, count, shape.size,
                  [&](int j) { return q.At(b, t + j, h); });
      }
    }
    d_key.Store(shape.size, dk.At(b, s, kv));
    d_value.Store(shape.size, dv.At(b, s, kv));
  });
}

}  // namespace

void PlainAttention(const Heads& q, const Heads& k, const Heads& v,
                    double scale, const AttentionMask& mask, Out y, Out lse) {
  if (y->numel() == 0) return;
  const AttentionShape shape(q, k, scale, mask);
  const Device device = y->device();
  DispatchF32OrBf16(q.data.dtype(), "attention", [&](auto tag) {
    using T = decltype(tag);
    Launch(device, GridForWarps(lse->numel(), device), AttentionKernel<T>,
           shape, HeadRows<const T>(q), HeadRows<const T>(k),
           HeadRows<const T>(v), HeadRows<T>(*y), lse->data<float>());
  });
}

void PlainAttentionGrad(const Heads& q, const Heads& k, const Heads& v, In y,
                        In lse, In dy, double scale, const AttentionMask& mask,
                        const Heads& dq, const Heads& dk, const Heads& dv) {
  if (k.data.numel() == 0) return;
  const AttentionShape shape(q, k, scale, mask);
  const Device device = y.device();
  const Tensor dots = Empty(lse.shape(), DType::kF32, device);
  DispatchF32OrBf16(q.data.dtype(), "attention gradient", [&](auto tag) {
    using T = decltype(tag);
    const HeadRows<const T> q_rows(q), k_rows(k), v_rows(v), dy_rows(dy);
    const Grid per_query = GridForWarps(lse.numel(), device);
    Launch(device, per_query, RowDotsKernel<T>, shape, HeadRows<const T>(y),
           dy_rows, dots.data<float>());
    Launch(device, per_query, QueryGradKernel<T>, shape, q_rows, k_rows, v_rows,
           dy_rows, lse.data<float>(), dots.data<float>(), HeadRows<T>(dq));
    Launch(device,
           GridForWarps(shape.batch * shape.kv_heads * shape.keys, device),
           KeyGradKernel<T>, shape, q_rows, k_rows, v_rows, dy_rows,
           lse.data<float>(), dots.data<float>(), HeadRows<T>(dk),
           HeadRows<T>(dv));
  });
}

}  // namespace nextword::kernels::cuda

#include "autograd/kernels/cpu/attention_f64.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/head_rows.h"
#include "autograd/kernels/visibility.h"

namespace nextword::kernels {
namespace {

using HeadsIn = HeadRows<const double>;

double Dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// y += a x
void AddScaled(double a, const double* x, double* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

}  // namespace

void AttentionF64(const Heads& q, const Heads& k, const Heads& v, double scale,
                  const AttentionMask& mask, Out y, Out lse) {
  const HeadsIn q_rows(q), k_rows(k), v_rows(v);
  const HeadRows<double> y_rows(*y);
  const int64_t queries = q.data.dim(1), size = q.data.dim(3);
  const int64_t group = q.count / std::max<int64_t>(1, k.count);
  const Visibility visibility(mask, queries, k.data.dim(1));
  double* const sums = lse->data<double>();
  ParallelFor(lse->numel(), 64, [&](int64_t begin, int64_t end) {
    std::vector<double> p(visibility.keys);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / (q.count * queries);
      const int64_t h = row / queries % q.count, t = row % queries;
      const KeyRange visible = visibility.Keys(t);
      double largest = -std::numeric_limits<double>::infinity();
      for (int64_t s = visible.begin; s < visible.end; ++s) {
        p[s] = visibility.Sees(b, t, s)
                   ? scale * Dot(q_rows.At(b, t, h), k_rows.At(b, s, h / group),
                                 size)
                   : -std::numeric_limits<double>::infinity();
        largest = std::max(largest, p[s]);
      }
      double sum = 0;
      for (int64_t s = visible.begin; s < visible.end; ++s) {
        sum += p[s] = std::exp(p[s] - largest);
      }
      sums[row] = largest + std::log(sum);
      double* const to = y_rows.At(b, t, h);
      std::fill_n(to, size, 0.0);
      for (int64_t s = visible.begin; s < visible.end; ++s) {
        AddScaled(p[s] / sum, v_rows.At(b, s, h / group), to, size);
      }
    }
  });
}

void AttentionGradF64(const Heads& q, const Heads& k, const Heads& v, In y,
                      In lse, In dy, double scale, const AttentionMask& mask,
                      const Heads& dq, const Heads& dk, const Heads& dv) {
  const HeadsIn q_rows(q), k_rows(k), v_rows(v), y_rows(y), dy_rows(dy);
  const HeadRows<double> dq_rows(dq), dk_rows(dk), dv_rows(dv);
  const int64_t queries = q.data.dim(1), size = q.data.dim(3);
  const int64_t group = q.count / std::max<int64_t>(1, k.count);
  const Visibility visibility(mask, queries, k.data.dim(1));
  ParallelForEach(k.data.dim(0) * k.count, [&](int64_t task) {
    const int64_t b = task / k.count, kv = task % k.count;
    for (int64_t s = 0; s < k.data.dim(1); ++s) {
      std::fill_n(dk_rows.At(b, s, kv), size, 0.0);
      std::fill_n(dv_rows.At(b, s, kv), size, 0.0);
    }
    for (int64_t row = 0; row < group * queries; ++row) {
      const int64_t h = kv * group + row / queries, t = row % queries;
      const double* const query = q_rows.At(b, t, h);
      const double* const d_y = dy_rows.At(b, t, h);
      const double sum = lse.data<double>()[(b * q.count + h) * queries + t];
      const double dot = Dot(d_y, y_rows.At(b, t, h), size);
      double* const d_query = dq_rows.At(b, t, h);
      std::fill_n(d_query, size, 0.0);
      const KeyRange visible = visibility.Keys(t);
      for (int64_t s = visible.begin; s < visible.end; ++s) {
        if (!visibility.Sees(b, t, s)) continue;
        const double* const key = k_rows.At(b, s, kv);
        const double p = std::exp(scale * Dot(query, key, size) - sum);
        const double d_score =
            scale * p * (Dot(d_y, v_rows.At(b, s, kv), size) - dot);
        AddScaled(p, d_y, dv_rows.At(b, s, kv), size);
        AddScaled(d_score, key, d_query, size);
        AddScaled(d_score, query, dk_rows.At(b, s, kv), size);
      }
    }
  });
}

}  // namespace nextword::kernels

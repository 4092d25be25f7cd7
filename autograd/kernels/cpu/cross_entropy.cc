// Cross-entropy of logits against target ids.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/cross_entropy.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/cpu/register.h"
#include "autograd/kernels/math.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

// log(sum(exp(x))).
template <typename T>
ComputeType<T> LogSumExp(const T* x, int64_t n) {
  using C = ComputeType<T>;
  const C largest = LaneMax<C>(n, -std::numeric_limits<C>::infinity(),
                               [=](int64_t i) { return static_cast<C>(x[i]); });
  const C sum = LaneSum<C>(
      n, [=](int64_t i) { return math::Exp(static_cast<C>(x[i]) - largest); });
  return largest + std::log(sum);
}

// dx = (softmax(x) - onehot(target)) scale.
template <typename T>
void GradRow(const T* __restrict x, ComputeType<T> lse, ComputeType<T> scale,
             int32_t target, T* __restrict dx, int64_t n) {
  using C = ComputeType<T>;
  for (int64_t i = 0; i < n; ++i) {
    dx[i] = static_cast<T>(math::Exp(static_cast<C>(x[i]) - lse) * scale);
  }
  const C p = math::Exp(static_cast<C>(x[target]) - lse);
  dx[target] = static_cast<T>((p - C(1)) * scale);
}

void CrossEntropy(In logits, In targets, Out losses, Out lse) {
  const int64_t rows = logits.dim(0), columns = logits.dim(1);
  const int32_t* const ids = targets.data<int32_t>();
  DispatchFloat(logits.dtype(), "cross_entropy", [&](auto tag) {
    using T = decltype(tag);
    using C = ComputeType<T>;
    const T* const px = logits.data<T>();
    C* const plosses = losses->data<C>();
    C* const plse = lse->data<C>();
    ParallelFor(rows, RowsPerTask(columns), [=](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        NW_CHECK_LT(ids[r], columns) << "cross_entropy: target of row " << r;
        const T* const row = px + r * columns;
        const bool ignored = ids[r] < 0;
        plse[r] = ignored ? C(0) : LogSumExp(row, columns);
        plosses[r] = ignored ? C(0) : plse[r] - static_cast<C>(row[ids[r]]);
      }
    });
  });
}

void CrossEntropyGrad(In logits, In targets, In lse, In dlosses, Out dlogits) {
  const int64_t rows = logits.dim(0), columns = logits.dim(1);
  const int32_t* const ids = targets.data<int32_t>();
  DispatchFloat(logits.dtype(), "cross_entropy gradient", [&](auto tag) {
    using T = decltype(tag);
    using C = ComputeType<T>;
    const T* const px = logits.data<T>();
    const C* const plse = lse.data<C>();
    const C* const pd = dlosses.data<C>();
    T* const pdx = dlogits->data<T>();
    ParallelFor(rows, RowsPerTask(columns), [=](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t i = r * columns;
        if (ids[r] < 0) {
          std::fill(pdx + i, pdx + i + columns, static_cast<T>(C(0)));
        } else {
          GradRow(px + i, plse[r], pd[r], ids[r], pdx + i, columns);
        }
      }
    });
  });
}

// x = exp(x - shift); returns the sum.
template <typename C>
C ExpShifted(C* __restrict x, C shift, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = math::Exp(x[i] - shift);
  return LaneSum<C>(n, [=](int64_t i) { return x[i]; });
}

// dx = factor x, where dx may be x.
template <typename C>
void ScaleRow(C* x, C factor, C* dx, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
  if (dx != x) std::copy(x, x + n, dx);
}

inline void ScaleRow(const float* __restrict x, float factor,
                     BFloat16* __restrict dx, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dx[i] = static_cast<BFloat16>(factor * x[i]);
}

// The loss of one row; dx = softmax(x) - onehot(target), and x is used up. The
// row stays in the cache from its first reading to its last writing.
template <typename C, typename T>
C LossAndGradRow(C* x, int32_t target, T* dx, int64_t n) {
  const C largest = LaneMax<C>(n, -std::numeric_limits<C>::infinity(),
                               [=](int64_t i) { return x[i]; });
  const C at_target = x[target];
  const C sum = ExpShifted(x, largest, n);
  const C slope = x[target] / sum - C(1);
  ScaleRow(x, C(1) / sum, dx, n);
  dx[target] = static_cast<T>(slope);
  return largest + std::log(sum) - at_target;
}

void CrossEntropyWithGrad(Out logits, In targets, Out losses, Out dlogits) {
  const int64_t rows = logits->dim(0), columns = logits->dim(1);
  const int32_t* const ids = targets.data<int32_t>();
  const auto run = [&](auto* x, auto* dx) {
    using C = std::remove_reference_t<decltype(*x)>;
    using T = std::remove_reference_t<decltype(*dx)>;
    C* const plosses = losses->data<C>();
    ParallelFor(rows, RowsPerTask(columns), [=](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        NW_CHECK_LT(ids[r], columns) << "cross_entropy: target of row " << r;
        T* const to = dx + r * columns;
        if (ids[r] < 0) {
          std::fill(to, to + columns, static_cast<T>(C(0)));
          plosses[r] = C(0);
        } else {
          plosses[r] =
              LossAndGradRow<C, T>(x + r * columns, ids[r], to, columns);
        }
      }
    });
  };
  if (logits->dtype() == DType::kF64) {
    run(logits->data<double>(), dlogits->data<double>());
  } else if (dlogits->dtype() == DType::kBF16) {
    run(logits->data<float>(), dlogits->data<BFloat16>());
  } else {
    run(logits->data<float>(), dlogits->data<float>());
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nextword::kernels {
namespace {
NW_REGISTER_CPU(cross_entropy, CrossEntropy);
NW_REGISTER_CPU(cross_entropy_grad, CrossEntropyGrad);
NW_REGISTER_CPU(cross_entropy_with_grad, CrossEntropyWithGrad);
}  // namespace
}  // namespace nextword::kernels
#endif  // HWY_ONCE

// Layer norm (Ba et al. 2016) and RMS norm (Zhang and Sennrich 2019).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/norm.cc"
#include "hwy/foreach_target.h"

#include <cmath>
#include <type_traits>

#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/cpu/register.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

// Rows whose parameter gradients one task sums; fixes the order of addition.
constexpr int64_t kRowsPerPartial = 128;

// One row, mean 0 for RMS norm.
template <typename C>
struct RowStatistics {
  C mean, rstd;
};

template <bool kCentered, typename T>
RowStatistics<ComputeType<T>> Measure(const T* x, int64_t n, double epsilon) {
  using C = ComputeType<T>;
  C mean = 0;
  if constexpr (kCentered) {
    mean = LaneSum<C>(n, [=](int64_t i) { return static_cast<C>(x[i]); }) /
           static_cast<C>(n);
  }
  const C sum = LaneSum<C>(n, [=](int64_t i) {
    const C d = static_cast<C>(x[i]) - mean;
    return d * d;
  });
  const C variance = sum / static_cast<C>(n);
  return {mean, C(1) / std::sqrt(variance + static_cast<C>(epsilon))};
}

template <typename T, typename U, typename C = ComputeType<T>>
void NormalizeRow(const T* __restrict x, const C* __restrict weight,
                  const C* __restrict bias, RowStatistics<C> row,
                  U* __restrict y, int64_t n) {
  if (bias == nullptr) {
    for (int64_t i = 0; i < n; ++i) {
      const C normal = (static_cast<C>(x[i]) - row.mean) * row.rstd;
      y[i] = static_cast<U>(normal * weight[i]);
    }
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const C normal = (static_cast<C>(x[i]) - row.mean) * row.rstd;
    y[i] = static_cast<U>(normal * weight[i] + bias[i]);
  }
}

// Calls f(T{}, U{}) with the types of x and of y (or dy).
template <typename F>
void DispatchNorm(DType x, DType y, const F& f) {
  DispatchFloat(x, "norm", [&](auto tag) {
    using T = decltype(tag);
    if (x == y) return f(T{}, T{});
    if constexpr (std::is_same_v<T, float>) {
      if (y == DType::kBF16) return f(T{}, BFloat16{});
    }
    NW_CHECK(false) << "norm of " << x << " into " << y;
  });
}

template <bool kCentered>
void Norm(In x, In weight, In bias, double epsilon, Out y, Out mean, Out rstd) {
  const int64_t columns = x.dim(-1);
  const int64_t rows = x.shape().NumelBefore(-1);
  DispatchNorm(x.dtype(), y->dtype(), [&](auto in, auto out) {
    using T = decltype(in);
    using U = decltype(out);
    using C = ComputeType<T>;
    const Tensor wide_weight = Cast(weight, DTypeOf<C>::value);
    const Tensor wide_bias =
        bias.defined() ? Cast(bias, DTypeOf<C>::value) : Tensor();
    const T* const px = x.data<T>();
    const C* const pw = wide_weight.data<C>();
    const C* const pb = bias.defined() ? wide_bias.data<C>() : nullptr;
    U* const py = y->data<U>();
    C* const pmean = kCentered ? mean->data<C>() : nullptr;
    C* const prstd = rstd->data<C>();
    ParallelFor(rows, RowsPerTask(columns), [=](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* const row = px + r * columns;
        const auto statistics = Measure<kCentered>(row, columns, epsilon);
        NormalizeRow<T, U>(row, pw, pb, statistics, py + r * columns, columns);
        if (kCentered) pmean[r] = statistics.mean;
        prstd[r] = statistics.rstd;
      }
    });
  });
}

// With g = dy weight and n the normalised row:
// dx = rstd (g - mean(g) - n mean(g n)); without mean(g) for RMS norm; with
// kAdd, rounded as without and then added to dx. dx also in bf16 to `rounded`,
// if that is not null. Adds the row's share to dweight and dbias.
template <bool kCentered, bool kAdd, typename T, typename U,
          typename C = ComputeType<T>>
void NormGradRow(const T* __restrict x, const C* __restrict weight,
                 RowStatistics<C> row, const U* __restrict dy, T* __restrict dx,
                 BFloat16* __restrict rounded, C* __restrict dweight,
                 C* __restrict dbias, int64_t n) {
  const C mean_gn =
      LaneSum<C>(n,
                 [=](int64_t i) {
                   return static_cast<C>(dy[i]) * weight[i] *
                          ((static_cast<C>(x[i]) - row.mean) * row.rstd);
                 }) /
      static_cast<C>(n);
  C mean_g = 0;
  if constexpr (kCentered) {
    mean_g =
        LaneSum<C>(
            n, [=](int64_t i) { return static_cast<C>(dy[i]) * weight[i]; }) /
        static_cast<C>(n);
  }
  for (int64_t i = 0; i < n; ++i) {
    const C d = static_cast<C>(dy[i]);
    const C normal = (static_cast<C>(x[i]) - row.mean) * row.rstd;
    C gradient = row.rstd * (d * weight[i] - mean_g - normal * mean_gn);
    if constexpr (kAdd) {
      gradient =
          static_cast<C>(static_cast<T>(gradient)) + static_cast<C>(dx[i]);
    }
    dx[i] = static_cast<T>(gradient);
    dweight[i] += d * normal;
  }
  if (rounded != nullptr) {
    for (int64_t i = 0; i < n; ++i) {
      rounded[i] = BFloat16(static_cast<float>(dx[i]));
    }
  }
  if constexpr (kCentered) {
    for (int64_t i = 0; i < n; ++i) dbias[i] += static_cast<C>(dy[i]);
  }
}

template <bool kCentered>
void NormGrad(In x, In weight, In mean, In rstd, In dy, bool add, Out dx,
              Out rounded, Out dparameters) {
  const int64_t columns = x.dim(-1);
  const int64_t rows = x.shape().NumelBefore(-1);
  const int64_t partials = NumChunks(rows, kRowsPerPartial);
  DispatchNorm(x.dtype(), dy.dtype(), [&](auto in, auto out) {
    using T = decltype(in);
    using U = decltype(out);
    using C = ComputeType<T>;
    const Tensor wide_weight = Cast(weight, DTypeOf<C>::value);
    const T* const px = x.data<T>();
    const C* const pw = wide_weight.data<C>();
    const C* const pmean = kCentered ? mean.data<C>() : nullptr;
    const C* const prstd = rstd.data<C>();
    const U* const pdy = dy.data<U>();
    T* const pdx = dx->data<T>();
    BFloat16* const prounded =
        rounded->defined() ? rounded->data<BFloat16>() : nullptr;
    // Each task's sums of dweight, then of dbias.
    Tensor sums = Zeros({2, partials, columns}, DTypeOf<C>::value);
    C* const psum = sums.data<C>();
    const auto grad_row = add ? NormGradRow<kCentered, true, T, U>
                              : NormGradRow<kCentered, false, T, U>;
    ParallelForEach(partials, [=](int64_t task) {
      C* const pdw = psum + task * columns;
      C* const pdb = pdw + partials * columns;
      const int64_t end = std::min(rows, (task + 1) * kRowsPerPartial);
      for (int64_t r = task * kRowsPerPartial; r < end; ++r) {
        const int64_t i = r * columns;
        grad_row(px + i, pw, {kCentered ? pmean[r] : C(0), prstd[r]}, pdy + i,
                 pdx + i, prounded == nullptr ? nullptr : prounded + i, pdw,
                 pdb, columns);
      }
    });
    const int64_t wanted = dparameters->dim(0);
    Tensor to = dparameters->Reshape({wanted, 1, columns});
    sum_to.AsPart(sums.View(0, {wanted, partials, columns}), &to);
  });
}

void LayerNorm(In x, In weight, In bias, double epsilon, Out y, Out mean,
               Out rstd) {
  Norm<true>(x, weight, bias, epsilon, y, mean, rstd);
}

void LayerNormGrad(In x, In weight, In mean, In rstd, In dy, bool add, Out dx,
                   Out rounded, Out dparameters) {
  NormGrad<true>(x, weight, mean, rstd, dy, add, dx, rounded, dparameters);
}

void RmsNorm(In x, In weight, double epsilon, Out y, Out rstd) {
  Norm<false>(x, weight, Tensor(), epsilon, y, nullptr, rstd);
}

void RmsNormGrad(In x, In weight, In rstd, In dy, bool add, Out dx, Out rounded,
                 Out dparameters) {
  NormGrad<false>(x, weight, Tensor(), rstd, dy, add, dx, rounded, dparameters);
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nextword::kernels {
namespace {
NW_REGISTER_CPU(layer_norm, LayerNorm);
NW_REGISTER_CPU(layer_norm_grad, LayerNormGrad);
NW_REGISTER_CPU(rms_norm, RmsNorm);
NW_REGISTER_CPU(rms_norm_grad, RmsNormGrad);
}  // namespace
}  // namespace nextword::kernels
#endif  // HWY_ONCE

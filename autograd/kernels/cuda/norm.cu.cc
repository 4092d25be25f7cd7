// Layer norm (Ba et al. 2016) and RMS norm (Zhang and Sennrich 2019).
#include <type_traits>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"

namespace nextword::kernels::cuda {
namespace {

// Rows whose parameter gradients one block sums; fixes the order of addition.
constexpr int64_t kRowsPerPartial = 64;

// Calls f(T{}, U{}) with the types of x and of y (or dy).
template <typename F>
void DispatchNorm(DType x, DType y, const F& f) {
  if (x == DType::kF32 && y == DType::kF32) return f(float{}, float{});
  if (x == DType::kF32 && y == DType::kBF16) return f(float{}, BFloat16{});
  if (x == DType::kBF16 && y == DType::kBF16) return f(BFloat16{}, BFloat16{});
  NW_CHECK(false) << "norm of " << x << " into " << y;
}

// `weight`, `bias` and `mean` may be null, but for weight.
template <bool kCentered, typename T, typename U>
__global__ void NormKernel(int64_t rows, int64_t columns, float epsilon,
                           const T* x, const float* weight, const float* bias,
                           U* y, float* mean, float* rstd) {
  ForEachRow(rows, [=](int64_t row) {
    const T* const from = x + row * columns;
    const float count = static_cast<float>(columns);
    float center = 0;
    if constexpr (kCentered) {
      center =
          BlockSum<float>(
              columns, [=](int64_t i) { return static_cast<float>(from[i]); }) /
          count;
    }
    const float sum = BlockSum<float>(columns, [=](int64_t i) {
      const float d = static_cast<float>(from[i]) - center;
      return d * d;
    });
    const float scale = 1.0f / sqrtf(sum / count + epsilon);
    ForEachInBlock(columns, [=](int64_t i) {
      const float normal = (static_cast<float>(from[i]) - center) * scale;
      const float shift = bias != nullptr ? bias[i] : 0.0f;
      y[row * columns + i] = static_cast<U>(normal * weight[i] + shift);
    });
    if (threadIdx.x == 0) {
      if constexpr (kCentered) mean[row] = center;
      rstd[row] = scale;
    }
  });
}

template <bool kCentered>
void Norm(In x, In weight, In bias, double epsilon, Out y, Out mean, Out rstd) {
  const int64_t rows = x.shape().NumelBefore(-1);
  const Tensor wide_weight = Cast(weight, DType::kF32);
  const Tensor wide_bias = bias.defined() ? Cast(bias, DType::kF32) : Tensor();
  DispatchNorm(x.dtype(), y->dtype(), [&](auto in, auto out) {
    using T = decltype(in);
    using U = decltype(out);
    Launch(y->device(), GridForRows(rows, x.dim(-1), y->device()),
           NormKernel<kCentered, T, U>, rows, x.dim(-1),
           static_cast<float>(epsilon), x.data<T>(), wide_weight.data<float>(),
           bias.defined() ? wide_bias.data<float>() : nullptr, y->data<U>(),
           kCentered ? mean->data<float>() : nullptr, rstd->data<float>());
  });
}

// With g = dy weight and n the normalised row:
// dx = rstd (g - mean(g) - n mean(g n)); without mean(g) for RMS norm; dx +=
// with kAdd.
template <bool kCentered, bool kAdd, typename T, typename U>
__global__ void NormGradKernel(int64_t rows, int64_t columns, const T* x,
                               const float* weight, const float* mean,
                               const float* rstd, const U* dy, T* dx) {
  ForEachRow(rows, [=](int64_t row) {
    const T* const px = x + row * columns;
    const U* const pdy = dy + row * columns;
    const float count = static_cast<float>(columns);
    const float center = kCentered ? mean[row] : 0.0f;
    const float scale = rstd[row];
    const auto g = [=](int64_t i) {
      return static_cast<float>(pdy[i]) * weight[i];
    };
    const auto normal = [=](int64_t i) {
      return (static_cast<float>(px[i]) - center) * scale;
    };
    const float mean_gn =
        BlockSum<float>(columns, [=](int64_t i) { return g(i) * normal(i); }) /
        count;
    float mean_g = 0;
    if constexpr (kCentered) mean_g = BlockSum<float>(columns, g) / count;
    ForEachInBlock(columns, [=](int64_t i) {
      T* const to = dx + row * columns + i;
      float gradient = scale * (g(i) - mean_g - normal(i) * mean_gn);
      if constexpr (kAdd) gradient += static_cast<float>(*to);
      *to = static_cast<T>(gradient);
    });
  });
}

// Each partial sum of dy n and of dy, over kRowsPerPartial rows:
// sums [2, partials, columns].
template <bool kCentered, typename T, typename U>
__global__ void NormParameterGradKernel(int64_t rows, int64_t columns,
                                        int64_t partials, const T* x,
                                        const float* mean, const float* rstd,
                                        const U* dy, float* sums) {
  ForEachItem(partials * columns, [=](int64_t item) {
    const int64_t column = item % columns;
    const int64_t begin = item / columns * kRowsPerPartial;
    const int64_t end =
        begin + kRowsPerPartial < rows ? begin + kRowsPerPartial : rows;
    float dweight = 0, dbias = 0;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * columns + column;
      const float d = static_cast<float>(dy[at]);
      const float center = kCentered ? mean[row] : 0.0f;
      dweight += d * ((static_cast<float>(x[at]) - center) * rstd[row]);
      dbias += d;
    }
    sums[item] = dweight;
    if (kCentered) sums[partials * columns + item] = dbias;
  });
}

template <bool kCentered>
void NormGrad(In x, In weight, In mean, In rstd, In dy, bool add, Out dx,
              Out dweight, Out dbias) {
  const int64_t columns = x.dim(-1);
  const int64_t rows = x.shape().NumelBefore(-1);
  const int64_t partials = (rows + kRowsPerPartial - 1) / kRowsPerPartial;
  const Device device = dx->device();
  const Tensor wide_weight = Cast(weight, DType::kF32);
  const float* const pmean = kCentered ? mean.data<float>() : nullptr;
  Tensor sums = Empty({2, partials, columns}, DType::kF32, device);
  DispatchNorm(x.dtype(), dy.dtype(), [&](auto in, auto out) {
    using T = decltype(in);
    using U = decltype(out);
    Launch(device, GridForRows(rows, columns, device),
           add ? NormGradKernel<kCentered, true, T, U>
               : NormGradKernel<kCentered, false, T, U>,
           rows, columns, x.data<T>(), wide_weight.data<float>(), pmean,
           rstd.data<float>(), dy.data<U>(), dx->data<T>());
    Launch(device, GridForItems(partials * columns, device),
           NormParameterGradKernel<kCentered, T, U>, rows, columns, partials,
           x.data<T>(), pmean, rstd.data<float>(), dy.data<U>(),
           sums.data<float>());
  });
  sum_to(sums.View(0, {partials, columns}), dweight);
  if (dbias != nullptr && dbias->defined()) {
    sum_to(sums.View(partials * columns, {partials, columns}), dbias);
  }
}

void LayerNorm(In x, In weight, In bias, double epsilon, Out y, Out mean,
               Out rstd) {
  Norm<true>(x, weight, bias, epsilon, y, mean, rstd);
}

void LayerNormGrad(In x, In weight, In mean, In rstd, In dy, bool add, Out dx,
                   Out dweight, Out dbias) {
  NormGrad<true>(x, weight, mean, rstd, dy, add, dx, dweight, dbias);
}

void RmsNorm(In x, In weight, double epsilon, Out y, Out rstd) {
  Norm<false>(x, weight, Tensor(), epsilon, y, nullptr, rstd);
}

void RmsNormGrad(In x, In weight, In rstd, In dy, bool add, Out dx,
                 Out dweight) {
  NormGrad<false>(x, weight, Tensor(), rstd, dy, add, dx, dweight, nullptr);
}

[[maybe_unused]] const bool registered =
    layer_norm.Register(DeviceType::kCuda, LayerNorm) &&
    layer_norm_grad.Register(DeviceType::kCuda, LayerNormGrad) &&
    rms_norm.Register(DeviceType::kCuda, RmsNorm) &&
    rms_norm_grad.Register(DeviceType::kCuda, RmsNormGrad);

}  // namespace
}  // namespace nextword::kernels::cuda

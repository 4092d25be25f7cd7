// Layer norm (Ba et al. 2016) and RMS norm (Zhang and Sennrich 2019).
#include <type_traits>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"

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

// A row, in packs, minus its center.
template <int kSize, typename T>
NW_DEVICE Floats<kSize> Centered(const T* row, float center, bool aligned) {
  return ForItems([=](float x) { return x - center; },
                  Load<kSize>(row, aligned));
}

// `bias` and `mean` may be null.
template <bool kCentered, typename T, typename U>
__global__ void NormKernel(int64_t rows, int64_t columns, bool aligned,
                           float epsilon, const T* x, const float* weight,
                           const float* bias, U* y, float* mean, float* rstd) {
  constexpr int kPack = kPackOf<T>;
  ForEachRow(rows, [=](int64_t row) {
    const T* const from = x + row * columns;
    const float count = static_cast<float>(columns);
    float center = 0;
    if constexpr (kCentered) {
      center =
          BlockSumOfPacks<float, kPack>(columns,
                                        [=](int64_t i, auto size) {
                                          return Load<size>(from + i, aligned);
                                        }) /
          count;
    }
    const float sum =
        BlockSumOfPacks<float, kPack>(columns, [=](int64_t i, auto size) {
          return ForItems([](float d) { return d * d; },
                          Centered<size>(from + i, center, aligned));
        });
    const float scale = 1.0f / sqrtf(sum / count + epsilon);
    ForEachPackInBlock<kPack>(columns, [=](int64_t i, auto size) {
      const auto shift =
          bias != nullptr ? Load<size>(bias + i, aligned) : Floats<size>{};
      Store(
          ForItems([=](float d, float w, float b) { return d * scale * w + b; },
                   Centered<size>(from + i, center, aligned),
                   Load<size>(weight + i, aligned), shift),
          y + row * columns + i, aligned);
    });
    if (threadIdx.x == 0) {
      if constexpr (kCentered) mean[row] = center;
      rstd[row] = scale;
    }
  });
}

// A thread for each pack of a row.
template <typename T>
Grid GridForNorm(int64_t rows, int64_t columns, Device device) {
  return GridForRows(rows, columns / kPackOf<T>, device);
}

template <bool kCentered>
void Norm(In x, In weight, In bias, double epsilon, Out y, Out mean, Out rstd) {
  const int64_t rows = x.shape().NumelBefore(-1), columns = x.dim(-1);
  const Tensor wide_weight = Cast(weight, DType::kF32);
  const Tensor wide_bias = bias.defined() ? Cast(bias, DType::kF32) : Tensor();
  const float* const pw = wide_weight.data<float>();
  const float* const pb = bias.defined() ? wide_bias.data<float>() : nullptr;
  DispatchNorm(x.dtype(), y->dtype(), [&](auto in, auto out) {
    using T = decltype(in);
    using U = decltype(out);
    const T* const px = x.data<T>();
    U* const py = y->data<U>();
    Launch(y->device(), GridForNorm<T>(rows, columns, y->device()),
           NormKernel<kCentered, T, U>, rows, columns,
           AlignedForPacks(kPackOf<T>, columns, px, pw, pb, py),
           static_cast<float>(epsilon), px, pw, pb, py,
           kCentered ? mean->data<float>() : nullptr, rstd->data<float>());
  });
}

// With g = dy weight and n the normalised row:
// dx = rstd (g - mean(g) - n mean(g n)); without mean(g) for RMS norm; dx +=
// with kAdd.
template <bool kCentered, bool kAdd, typename T, typename U>
__global__ void NormGradKernel(int64_t rows, int64_t columns, bool aligned,
                               const T* x, const float* weight,
                               const float* mean, const float* rstd,
                               const U* dy, T* dx) {
  constexpr int kPack = kPackOf<T>;
  ForEachRow(rows, [=](int64_t row) {
    const int64_t begin = row * columns;
    const float count = static_cast<float>(columns);
    const float center = kCentered ? mean[row] : 0.0f;
    const float scale = rstd[row];
    const auto g = [=](int64_t i, auto size) {
      return ForItems([](float d, float w) { return d * w; },
                      Load<size>(dy + begin + i, aligned),
                      Load<size>(weight + i, aligned));
    };
    const auto normal = [=](int64_t i, auto size) {
      return ForItems([=](float d) { return d * scale; },
                      Centered<size>(x + begin + i, center, aligned));
    };
    const float mean_gn =
        BlockSumOfPacks<float, kPack>(
            columns,
            [=](int64_t i, auto size) {
              return ForItems([](float g, float n) { return g * n; },
                              g(i, size), normal(i, size));
            }) /
        count;
    float mean_g = 0;
    if constexpr (kCentered) {
      mean_g = BlockSumOfPacks<float, kPack>(columns, g) / count;
    }
    ForEachPackInBlock<kPack>(columns, [=](int64_t i, auto size) {
      T* const to = dx + begin + i;
      auto gradient = ForItems(
          [=](float g, float n) { return scale * (g - mean_g - n * mean_gn); },
          g(i, size), normal(i, size));
      if constexpr (kAdd) {
        gradient = ForItems([](float g, float sum) { return g + sum; },
                            gradient, Load<size>(to, aligned));
      }
      Store(gradient, to, aligned);
    });
  });
}

// Each partial sum of dy n and of dy, over kRowsPerPartial rows:
// sums [2, partials, columns].
template <bool kCentered, typename T, typename U>
__global__ void NormParameterGradKernel(int64_t rows, int64_t columns,
                                        int64_t partials, bool aligned,
                                        const T* x, const float* mean,
                                        const float* rstd, const U* dy,
                                        float* sums) {
  constexpr int kPack = kPackOf<T>;
  const int64_t packs = (columns + kPack - 1) / kPack;
  ForEachItem(partials * packs, [=](int64_t item) {
    const int64_t partial = item / packs;
    const int64_t column = item % packs * kPack;
    const int64_t begin = partial * kRowsPerPartial;
    const int64_t end =
        begin + kRowsPerPartial < rows ? begin + kRowsPerPartial : rows;
    const auto add_up = [=](int64_t column, auto size) {
      Floats<size> dweight{}, dbias{};
      for (int64_t row = begin; row < end; ++row) {
        const int64_t at = row * columns + column;
        const float center = kCentered ? mean[row] : 0.0f;
        const float scale = rstd[row];
        const auto d = Load<size>(dy + at, aligned);
        const auto offset = Centered<size>(x + at, center, aligned);
        for (int k = 0; k < size; ++k) {
          dweight.items[k] += d.items[k] * (offset.items[k] * scale);
          dbias.items[k] += d.items[k];
        }
      }
      float* const to = sums + partial * columns + column;
      Store(dweight, to, aligned);
      if (kCentered) Store(dbias, to + partials * columns, aligned);
    };
    if (column + kPack <= columns) {
      add_up(column, PackSize<kPack>());
    } else {
      for (int64_t i = column; i < columns; ++i) add_up(i, PackSize<1>());
    }
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
    Launch(
        device, GridForNorm<T>(rows, columns, device),
        add ? NormGradKernel<kCentered, true, T, U>
            : NormGradKernel<kCentered, false, T, U>,
        rows, columns,
        AlignedForPacks(kPackOf<T>, columns, x.data<T>(),
                        wide_weight.data<float>(), dy.data<U>(), dx->data<T>()),
        x.data<T>(), wide_weight.data<float>(), pmean, rstd.data<float>(),
        dy.data<U>(), dx->data<T>());
    Launch(device, GridForItems(partials * columns / kPackOf<T>, device),
           NormParameterGradKernel<kCentered, T, U>, rows, columns, partials,
           AlignedForPacks(kPackOf<T>, columns, x.data<T>(), dy.data<U>(),
                           sums.data<float>()),
           x.data<T>(), pmean, rstd.data<float>(), dy.data<U>(),
           sums.data<float>());
  });
  sum_to.AsPart(sums.View(0, {partials, columns}), dweight);
  if (dbias != nullptr && dbias->defined()) {
    sum_to.AsPart(sums.View(partials * columns, {partials, columns}), dbias);
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

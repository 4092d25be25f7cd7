// Layer norm (Ba et al. 2016) and RMS norm (Zhang and Sennrich 2019).
#include <type_traits>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"

namespace nextword::kernels::cuda {
namespace {

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

struct ProductOf {
  NW_DEVICE float operator()(float a, float b) const { return a * b; }
};

// What a row's elements need for their gradients. With g = dy weight and n the
// normalised row: dx = rstd (g - mean(g) - n mean(g n)); without mean(g) for
// RMS norm.
struct RowGradient {
  float scale, mean_g, mean_gn;

  template <int kSize>
  NW_DEVICE Floats<kSize> operator()(const Floats<kSize>& g,
                                     const Floats<kSize>& normal) const {
    return ForItems(
        [row = *this](float g, float n) {
          return row.scale * (g - row.mean_g - n * row.mean_gn);
        },
        g, normal);
  }
};

// A gradient, rounded as T, added to the sum of those before it.
template <typename T, int kSize>
NW_DEVICE Floats<kSize> AddRounded(const Floats<kSize>& gradient,
                                   const Floats<kSize>& sum) {
  return ForItems([](float g, float s) { return float{static_cast<T>(g)} + s; },
                  gradient, sum);
}

// Rows that a block has on their way at once: as many as registers hold.
constexpr int RowsAtOnce(int pack) { return 16 / pack; }
// Of a block that holds a pack of a row at each thread, in registers.
constexpr int kMaxHolders = 512;

// Rows whose parameter gradients one block sums, a function of their number
// alone: it fixes the order of addition. Few, to keep the device busy; but then
// there are many sums to add.
int64_t RowsPerPartial(int64_t rows) {
  constexpr int64_t kMaxPartials = 512, kMultiple = RowsAtOnce(4);
  const int64_t share = (rows + kMaxPartials - 1) / kMaxPartials;
  return (share + kMultiple - 1) / kMultiple * kMultiple;
}

// dx, or dx += with kAdd, and each block's sums of dy n and of dy: sums
// [2, partials, columns]. A thread holds one pack of each row, so that memory
// is read once.
template <bool kCentered, bool kAdd, typename T, typename U>
__global__ void __launch_bounds__(kMaxHolders)
    NormGradKernel(int64_t rows, int64_t columns, int64_t partials,
                   int64_t rows_per_partial, const T* x, const float* weight,
                   const float* mean, const float* rstd, const U* dy, T* dx,
                   BFloat16* rounded, float* sums) {
  constexpr int kPack = kPackOf<T>, kRows = RowsAtOnce(kPack);
  const int64_t column = int64_t{threadIdx.x} * kPack;
  const bool holds = column < columns;
  const float count = static_cast<float>(columns);
  const Floats<kPack> w =
      holds ? Load<kPack>(weight + column, true) : Floats<kPack>{};
  for (int64_t partial = blockIdx.x; partial < partials; partial += gridDim.x) {
    const int64_t begin = partial * rows_per_partial;
    const int64_t end =
        begin + rows_per_partial < rows ? begin + rows_per_partial : rows;
    Floats<kPack> dweight{}, dbias{};
    for (int64_t first = begin; first < end; first += kRows) {
      Pack<T, kPack> xs[kRows] = {}, olds[kRows] = {};
      Pack<U, kPack> dys[kRows] = {};
      float centers[kRows] = {}, scales[kRows] = {};
      for (int r = 0; r < kRows; ++r) {
        const int64_t row = first + r, at = row * columns + column;
        if (row >= end) continue;
        if constexpr (kCentered) centers[r] = mean[row];
        scales[r] = rstd[row];
        if (!holds) continue;
        xs[r] = LoadPack<kPack>(x + at);
        dys[r] = LoadPack<kPack>(dy + at);
        if constexpr (kAdd) olds[r] = LoadPack<kPack>(dx + at);
      }
      const auto g = [&](int r) {
        return ForItems(ProductOf(), ToFloats(dys[r]), w);
      };
      const auto normal = [&](int r) {
        const float center = centers[r], scale = scales[r];
        return ForItems([=](float x) { return (x - center) * scale; },
                        ToFloats(xs[r]));
      };
      // Of g n, then of g.
      Floats<2 * kRows> row_sums{};
      for (int r = 0; r < kRows; ++r) {
        const auto d = ToFloats(dys[r]), gs = g(r), ns = normal(r);
        for (int k = 0; k < kPack; ++k) {
          row_sums.items[r] += gs.items[k] * ns.items[k];
          row_sums.items[kRows + r] += gs.items[k];
          dweight.items[k] += d.items[k] * ns.items[k];
          dbias.items[k] += d.items[k];
        }
      }
      row_sums = CombineBlock(row_sums, SumOf());
      for (int r = 0; r < kRows; ++r) {
        if (first + r >= end || !holds) continue;
        const RowGradient of_row{
            scales[r], kCentered ? row_sums.items[kRows + r] / count : 0.0f,
            row_sums.items[r] / count};
        auto gradient = of_row(g(r), normal(r));
        if constexpr (kAdd) {
          gradient = AddRounded<T>(gradient, ToFloats(olds[r]));
        }
        const int64_t at = (first + r) * columns + column;
        Store(gradient, dx + at, true);
        if (rounded != nullptr) Store(gradient, rounded + at, true);
      }
    }
    if (!holds) continue;
    float* const to = sums + partial * columns + column;
    Store(dweight, to, true);
    if (kCentered) Store(dbias, to + partials * columns, true);
  }
}

// The same for any rows: no packs, not aligned, or too long for a block to
// hold; in two kernels that read memory more often. First dx.
template <bool kCentered, bool kAdd, typename T, typename U>
__global__ void AnyNormGradKernel(int64_t rows, int64_t columns, bool aligned,
                                  const T* x, const float* weight,
                                  const float* mean, const float* rstd,
                                  const U* dy, T* dx, BFloat16* rounded) {
  constexpr int kPack = kPackOf<T>;
  ForEachRow(rows, [=](int64_t row) {
    const int64_t begin = row * columns;
    const float count = static_cast<float>(columns);
    const float center = kCentered ? mean[row] : 0.0f;
    const float scale = rstd[row];
    const auto g = [=](int64_t i, auto size) {
      return ForItems(ProductOf(), Load<size>(dy + begin + i, aligned),
                      Load<size>(weight + i, aligned));
    };
    const auto normal = [=](int64_t i, auto size) {
      return ForItems([=](float d) { return d * scale; },
                      Centered<size>(x + begin + i, center, aligned));
    };
    RowGradient of_row{scale, 0.0f, 0.0f};
    of_row.mean_gn =
        BlockSumOfPacks<float, kPack>(columns,
                                      [=](int64_t i, auto size) {
                                        return ForItems(ProductOf(), g(i, size),
                                                        normal(i, size));
                                      }) /
        count;
    if constexpr (kCentered) {
      of_row.mean_g = BlockSumOfPacks<float, kPack>(columns, g) / count;
    }
    ForEachPackInBlock<kPack>(columns, [=](int64_t i, auto size) {
      T* const to = dx + begin + i;
      auto gradient = of_row(g(i, size), normal(i, size));
      if constexpr (kAdd) {
        gradient = AddRounded<T>(gradient, Load<size>(to, aligned));
      }
      Store(gradient, to, aligned);
      if (rounded != nullptr) Store(gradient, rounded + begin + i, aligned);
    });
  });
}

// Then the sums, as above.
template <bool kCentered, typename T, typename U>
__global__ void AnyNormSumsKernel(int64_t rows, int64_t columns,
                                  int64_t partials, int64_t rows_per_partial,
                                  bool aligned, const T* x, const float* mean,
                                  const float* rstd, const U* dy, float* sums) {
  constexpr int kPack = kPackOf<T>;
  const int64_t packs = (columns + kPack - 1) / kPack;
  ForEachItem(partials * packs, [=](int64_t item) {
    const int64_t partial = item / packs;
    const int64_t column = item % packs * kPack;
    const int64_t begin = partial * rows_per_partial;
    const int64_t end =
        begin + rows_per_partial < rows ? begin + rows_per_partial : rows;
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
              Out rounded, Out dparameters) {
  const int64_t columns = x.dim(-1);
  const int64_t rows = x.shape().NumelBefore(-1);
  const int64_t rows_per_partial = RowsPerPartial(rows);
  const int64_t partials =
      rows == 0 ? 0 : (rows + rows_per_partial - 1) / rows_per_partial;
  const Device device = dx->device();
  const Tensor wide_weight = Cast(weight, DType::kF32);
  const float* const pw = wide_weight.data<float>();
  const float* const pmean = kCentered ? mean.data<float>() : nullptr;
  const float* const prstd = rstd.data<float>();
  Tensor sums = Empty({2, partials, columns}, DType::kF32, device);
  float* const psums = sums.data<float>();
  BFloat16* const prounded =
      rounded->defined() ? rounded->data<BFloat16>() : nullptr;
  DispatchNorm(x.dtype(), dy.dtype(), [&](auto in, auto out) {
    using T = decltype(in);
    using U = decltype(out);
    const T* const px = x.data<T>();
    const U* const pdy = dy.data<U>();
    T* const pdx = dx->data<T>();
    const int64_t packs = columns / kPackOf<T>;
    const bool aligned =
        AlignedForPacks(kPackOf<T>, columns, px, pw, pdy, pdx, prounded, psums);
    if (aligned && packs <= kMaxHolders) {
      return Launch(device, GridForRows(partials, packs, device, kMaxHolders),
                    add ? NormGradKernel<kCentered, true, T, U>
                        : NormGradKernel<kCentered, false, T, U>,
                    rows, columns, partials, rows_per_partial, px, pw, pmean,
                    prstd, pdy, pdx, prounded, psums);
    }
    Launch(device, GridForRows(rows, packs, device, kMaxHolders),
           add ? AnyNormGradKernel<kCentered, true, T, U>
               : AnyNormGradKernel<kCentered, false, T, U>,
           rows, columns, aligned, px, pw, pmean, prstd, pdy, pdx, prounded);
    Launch(device, GridForItems(partials * columns / kPackOf<T>, device),
           AnyNormSumsKernel<kCentered, T, U>, rows, columns, partials,
           rows_per_partial, aligned, px, pmean, prstd, pdy, psums);
  });
  const int64_t wanted = dparameters->dim(0);
  Tensor to = dparameters->Reshape({wanted, 1, columns});
  sum_to.AsPart(sums.View(0, {wanted, partials, columns}), &to);
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

[[maybe_unused]] const bool registered =
    layer_norm.Register(DeviceType::kCuda, LayerNorm) &&
    layer_norm_grad.Register(DeviceType::kCuda, LayerNormGrad) &&
    rms_norm.Register(DeviceType::kCuda, RmsNorm) &&
    rms_norm_grad.Register(DeviceType::kCuda, RmsNormGrad);

}  // namespace
}  // namespace nextword::kernels::cuda

// Sums, maxima and softmax.
#include <limits>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"
#include "autograd/kernels/math.h"
#include "autograd/kernels/sum_plan.h"

namespace nextword::kernels::cuda {
namespace {

// What one thread, or one block, adds before sums of sums are made: a function
// of nothing, so that the order of addition is one of the shape alone.
constexpr int64_t kRowsPerThread = 64;
constexpr int64_t kRowsPerBlock = 1024;
constexpr int64_t kElementsPerSum = 16384;

int64_t NumSums(int64_t n, int64_t size) { return (n + size - 1) / size; }

// x [before, n, after] -> sums [before, chunks, after], each of `size` rows. A
// thread per pack of columns.
template <typename T, typename U>
__global__ void SumRowsKernel(int64_t before, int64_t n, int64_t after,
                              int64_t chunks, int64_t size, bool aligned,
                              const T* x, U* sums) {
  constexpr int kPack = kPackOf<T>;
  const int64_t packs = (after + kPack - 1) / kPack;
  ForEachItem(before * chunks * packs, [=](int64_t item) {
    const int64_t column = item % packs * kPack;
    const int64_t chunk = item / packs % chunks;
    const int64_t begin = chunk * size;
    const int64_t end = begin + size < n ? begin + size : n;
    const T* const from = x + item / packs / chunks * n * after;
    U* const to = sums + item / packs * after;
    const auto add_up = [=](int64_t column, auto size) {
      Floats<size> sum{};
      for (int64_t row = begin; row < end; ++row) {
        const auto pack = Load<size>(from + row * after + column, aligned);
        for (int k = 0; k < size; ++k) sum.items[k] += pack.items[k];
      }
      Store(sum, to + column, aligned);
    };
    if (column + kPack <= after) {
      add_up(column, PackSize<kPack>());
    } else {
      for (int64_t i = column; i < after; ++i) add_up(i, PackSize<1>());
    }
  });
}

// x [before, n, after] -> y [before, after]. A block for a warp's width of
// columns, whose warps share the rows: with a thread per column, few columns
// would wait for row after row.
template <typename T, typename U>
__global__ void __launch_bounds__(kWarp* kWarp)
    SumColumnsKernel(int64_t before, int64_t n, int64_t after, const T* x,
                     U* y) {
  constexpr int kAtOnce = 8;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t strips = (after + kWarp - 1) / kWarp;
  ForEachRow(before * strips, [=](int64_t item) {
    __shared__ double sums[kWarp][kWarp];
    const int64_t column = item % strips * kWarp + lane;
    const bool inside = column < after;
    const T* const from = x + item / strips * n * after + column;
    const int64_t end = inside ? n : 0;
    double sum = 0;
    int64_t row = warp;
    for (; row + (kAtOnce - 1) * kWarp < end; row += kAtOnce * kWarp) {
      float next[kAtOnce];
      for (int k = 0; k < kAtOnce; ++k) {
        next[k] = static_cast<float>(from[(row + k * kWarp) * after]);
      }
      for (int k = 0; k < kAtOnce; ++k) sum += next[k];
    }
    for (; row < end; row += kWarp)
      sum += static_cast<float>(from[row * after]);
    __syncthreads();  // The sums of the strip before have been read.
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || !inside) return;
    for (int i = 1; i < kWarp; ++i) sum += sums[i][lane];
    y[item / strips * after + column] = static_cast<U>(static_cast<float>(sum));
  });
}

template <typename T, typename U>
void SumRows(const T* x, int64_t before, int64_t n, int64_t after,
             int64_t chunks, U* sums, Device device) {
  Launch(device, GridForItems(before * chunks * after / kPackOf<T>, device),
         SumRowsKernel<T, U>, before, n, after, chunks, kRowsPerThread,
         AlignedForPacks(kPackOf<T>, after, x, sums), x, sums);
}

template <typename T, typename U>
void SumColumns(const T* x, int64_t before, int64_t n, int64_t after, U* y,
                Device device) {
  if (n > kRowsPerBlock) {
    const int64_t chunks = NumSums(n, kRowsPerThread);
    const Tensor sums = Empty({before, chunks, after}, DType::kF32, device);
    SumRows(x, before, n, after, chunks, sums.data<float>(), device);
    return SumColumns(sums.data<float>(), before, chunks, after, y, device);
  }
  const int64_t blocks = before * ((after + kWarp - 1) / kWarp);
  Launch(device, GridForRows(blocks, kWarp * kWarp, device, kWarp * kWarp),
         SumColumnsKernel<T, U>, before, n, after, x, y);
}

template <typename T, typename U>
void SumOverRows(const T* x, int64_t before, int64_t n, int64_t after, U* y,
                 Device device) {
  if (n <= kRowsPerThread) {
    SumRows(x, before, n, after, 1, y, device);
  } else {
    SumColumns(x, before, n, after, y, device);
  }
}

struct Identity {
  NW_DEVICE double operator()(double x) const { return x; }
};

struct Square {
  NW_DEVICE double operator()(double x) const { return x * x; }
};

// x [rows, n] -> sums [rows, chunks] of f(x), each of `size` elements.
template <typename F, typename T>
__global__ void SumElementsKernel(int64_t rows, int64_t n, int64_t chunks,
                                  int64_t size, bool aligned, const T* x,
                                  double* sums) {
  ForEachRow(rows * chunks, [=](int64_t item) {
    const int64_t begin = item % chunks * size;
    const int64_t count = begin + size < n ? size : n - begin;
    const T* const from = x + item / chunks * n + begin;
    double mine = 0;
    ForEachPackInBlock<kPackOf<T>>(count, [&](int64_t i, auto size) {
      const auto pack = Load<size>(from + i, aligned);
      for (int k = 0; k < size; ++k) mine += F()(pack.items[k]);
    });
    const double sum = CombineBlock(mine, SumOf());
    if (threadIdx.x == 0) sums[item] = sum;
  });
}

// Each row of sums [rows, chunks], in order.
template <typename U>
__global__ void AddElementSumsKernel(int64_t rows, int64_t chunks,
                                     const double* sums, U* y) {
  ForEachItem(rows, [=](int64_t row) {
    double sum = 0;
    for (int64_t i = 0; i < chunks; ++i) sum += sums[row * chunks + i];
    if constexpr (std::is_same_v<U, double>) {
      y[row] = sum;
    } else {
      y[row] = static_cast<U>(static_cast<float>(sum));
    }
  });
}

// y[r] = sum over i of f(x[r, i]).
template <typename F, typename T, typename U>
void SumOverElements(const T* x, int64_t rows, int64_t n, U* y, Device device) {
  const int64_t chunks = NumSums(n, kElementsPerSum);
  const Tensor sums = Empty({rows, chunks}, DType::kF64, device);
  // Rows, and chunks of them, begin at multiples of packs where one row does.
  Launch(device, GridForRows(rows * chunks, n / kPackOf<T>, device),
         SumElementsKernel<F, T>, rows, n, chunks, kElementsPerSum,
         AlignedForPacks(kPackOf<T>, rows == 1 ? 0 : n, x), x,
         sums.data<double>());
  Launch(device, GridForItems(rows, device), AddElementSumsKernel<U>, rows,
         chunks, sums.data<double>(), y);
}

// One step of a plan: [before, n, after] -> [before, after].
template <typename T, typename U>
void SumMiddle(const T* x, int64_t before, int64_t n, int64_t after, U* y,
               Device device) {
  if (after == 1) {
    SumOverElements<Identity>(x, before, n, y, device);
  } else {
    SumOverRows(x, before, n, after, y, device);
  }
}

void SumTo(In x, Out y) {
  if (x.numel() == 0) return fill(y, 0.0);
  const std::vector<SumStep> steps = PlanSum(x.shape(), y->shape());
  if (steps.empty()) return copy(x, y);
  const Device device = y->device();
  Tensor rest = x;
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto [before, n, after] = steps[i];
    const bool last = i + 1 == steps.size();
    Tensor sum = last ? *y : Empty({before * after}, DType::kF32, device);
    DispatchF32OrBf16(rest.dtype(), "sum_to", [&](auto from) {
      DispatchF32OrBf16(sum.dtype(), "sum_to", [&](auto to) {
        SumMiddle(rest.data<decltype(from)>(), before, n, after,
                  sum.data<decltype(to)>(), device);
      });
    });
    rest = sum;
  }
}

void SumSquares(In x, Out y) {
  DispatchF32OrBf16(x.dtype(), "sum_squares", [&](auto tag) {
    using T = decltype(tag);
    const int64_t chunks = y->numel();
    Launch(y->device(),
           GridForRows(chunks, kSquaresChunk / kPackOf<T>, y->device()),
           SumElementsKernel<Square, T>, 1, x.numel(), chunks, kSquaresChunk,
           AlignedForPacks(kPackOf<T>, 0, x.data<T>()), x.data<T>(),
           y->data<double>());
  });
}

// The largest of a row and where it stands; the first one among equals.
struct Found {
  float value;
  int32_t index;
};

struct FirstLargest {
  NW_DEVICE Found operator()(Found a, Found b) const {
    if (b.value > a.value) return b;
    return b.value == a.value && b.index < a.index ? b : a;
  }
};

template <typename T>
__global__ void MaxLastKernel(int64_t rows, int64_t columns, const T* x, T* y,
                              int32_t* index) {
  ForEachRow(rows, [=](int64_t row) {
    const T* const from = x + row * columns;
    Found best{static_cast<float>(from[0]), 0};
    ForEachInBlock(columns, [&](int64_t i) {
      best = FirstLargest()(
          best, Found{static_cast<float>(from[i]), static_cast<int32_t>(i)});
    });
    best = CombineBlock(best, FirstLargest());
    if (threadIdx.x == 0) {
      y[row] = from[best.index];
      index[row] = best.index;
    }
  });
}

void MaxLast(In x, Out y, Out index) {
  const int64_t columns = x.dim(-1);
  NW_CHECK_GT(columns, 0) << "max over no elements of " << x;
  DispatchF32OrBf16(x.dtype(), "max_last", [&](auto tag) {
    using T = decltype(tag);
    Launch(y->device(), GridForRows(y->numel(), columns, y->device()),
           MaxLastKernel<T>, y->numel(), columns, x.data<T>(), y->data<T>(),
           index->data<int32_t>());
  });
}

template <typename T>
__global__ void SoftmaxKernel(int64_t rows, int64_t columns, const T* x, T* y) {
  ForEachRow(rows, [=](int64_t row) {
    const T* const from = x + row * columns;
    const float largest =
        BlockMax(columns, -std::numeric_limits<float>::infinity(),
                 [=](int64_t i) { return static_cast<float>(from[i]); });
    const float sum = BlockSum<float>(columns, [=](int64_t i) {
      return math::Exp(static_cast<float>(from[i]) - largest);
    });
    const float inverse = 1.0f / sum;
    ForEachInBlock(columns, [=](int64_t i) {
      y[row * columns + i] = static_cast<T>(
          math::Exp(static_cast<float>(from[i]) - largest) * inverse);
    });
  });
}

void Softmax(In x, Out y) {
  const int64_t rows = x.shape().NumelBefore(-1);
  DispatchF32OrBf16(x.dtype(), "softmax", [&](auto tag) {
    using T = decltype(tag);
    Launch(y->device(), GridForRows(rows, x.dim(-1), y->device()),
           SoftmaxKernel<T>, rows, x.dim(-1), x.data<T>(), y->data<T>());
  });
}

// dx = y (dy - sum(y dy)).
template <typename T>
__global__ void SoftmaxGradKernel(int64_t rows, int64_t columns, const T* y,
                                  const T* dy, T* dx) {
  ForEachRow(rows, [=](int64_t row) {
    const T* const py = y + row * columns;
    const T* const pdy = dy + row * columns;
    const float dot = BlockSum<float>(columns, [=](int64_t i) {
      return static_cast<float>(py[i]) * static_cast<float>(pdy[i]);
    });
    ForEachInBlock(columns, [=](int64_t i) {
      dx[row * columns + i] = static_cast<T>(
          static_cast<float>(py[i]) * (static_cast<float>(pdy[i]) - dot));
    });
  });
}

void SoftmaxGrad(In y, In dy, Out dx) {
  const int64_t rows = y.shape().NumelBefore(-1);
  DispatchF32OrBf16(y.dtype(), "softmax gradient", [&](auto tag) {
    using T = decltype(tag);
    Launch(dx->device(), GridForRows(rows, y.dim(-1), dx->device()),
           SoftmaxGradKernel<T>, rows, y.dim(-1), y.data<T>(), dy.data<T>(),
           dx->data<T>());
  });
}

[[maybe_unused]] const bool registered =
    sum_to.Register(DeviceType::kCuda, SumTo) &&
    sum_squares.Register(DeviceType::kCuda, SumSquares) &&
    max_last.Register(DeviceType::kCuda, MaxLast) &&
    softmax.Register(DeviceType::kCuda, Softmax) &&
    softmax_grad.Register(DeviceType::kCuda, SoftmaxGrad);

}  // namespace
}  // namespace nextword::kernels::cuda

// Sums, maxima and softmax.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/reduce.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/cpu/register.h"
#include "autograd/kernels/math.h"
#include "autograd/kernels/sum_plan.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

// y[j] = sum over rows of x[row, j], for `columns` columns of rows `stride`
// apart. Rows are added in blocks, and blocks in double, which keeps the
// rounding error small.
template <typename T, typename U>
void SumRows(const T* __restrict x, int64_t rows, int64_t stride,
             int64_t columns, U* __restrict y) {
  using C = ComputeType<T>;
  constexpr int64_t kBlock = 64;
  std::vector<double> total(columns, 0.0);
  std::vector<C> block(columns);
  for (int64_t begin = 0; begin < rows; begin += kBlock) {
    const int64_t end = std::min(rows, begin + kBlock);
    std::fill(block.begin(), block.end(), C(0));
    C* const pb = block.data();
    for (int64_t row = begin; row < end; ++row) {
      const T* const px = x + row * stride;
      for (int64_t j = 0; j < columns; ++j) pb[j] += static_cast<C>(px[j]);
    }
    for (int64_t j = 0; j < columns; ++j) total[j] += pb[j];
  }
  for (int64_t j = 0; j < columns; ++j) y[j] = static_cast<U>(total[j]);
}

// [before, n, after] -> [before, after]. Long runs of neighbours, such as a
// whole tensor, are added in double.
template <typename T, typename U>
void SumMiddle(const T* x, int64_t before, int64_t n, int64_t after, U* y) {
  if (after == 1) {
    using C = ComputeType<T>;
    ParallelFor(before, RowsPerTask(n), [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* const row = x + i * n;
        y[i] = static_cast<U>(LaneSum<double>(
            n, [=](int64_t j) { return static_cast<C>(row[j]); }));
      }
    });
    return;
  }
  constexpr int64_t kColumns = 128;
  const int64_t strips = NumChunks(after, kColumns);
  ParallelForEach(before * strips, [=](int64_t task) {
    const int64_t i = task / strips;
    const int64_t column = task % strips * kColumns;
    SumRows(x + i * n * after + column, n, after,
            std::min(kColumns, after - column), y + i * after + column);
  });
}

// What lies between two steps is kept in the compute type.
void SumTo(In x, Out y) {
  if (x.numel() == 0) return fill(y, 0.0);
  const std::vector<SumStep> steps = PlanSum(x.shape(), y->shape());
  if (steps.empty()) return copy(x, y);
  Tensor rest = x;
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto [before, n, after] = steps[i];
    DispatchFloat(rest.dtype(), "sum_to", [&](auto from) {
      using T = decltype(from);
      const bool last = i + 1 == steps.size();
      Tensor sum =
          last ? *y : Empty({before * after}, DTypeOf<ComputeType<T>>::value);
      DispatchFloat(sum.dtype(), "sum_to", [&](auto to) {
        SumMiddle(rest.data<T>(), before, n, after, sum.data<decltype(to)>());
      });
      rest = sum;
    });
  }
}

void SumSquares(In x, Out y) {
  NW_CHECK_EQ(y->numel(), NumChunks(x.numel(), kSquaresChunk)) << x;
  DispatchFloat(x.dtype(), "sum_squares", [&](auto tag) {
    using T = decltype(tag);
    const T* const px = x.data<T>();
    const int64_t n = x.numel();
    double* const py = y->data<double>();
    ParallelForEach(y->numel(), [=](int64_t chunk) {
      const T* const p = px + chunk * kSquaresChunk;
      const int64_t count = std::min(kSquaresChunk, n - chunk * kSquaresChunk);
      py[chunk] = LaneSum<double>(count, [=](int64_t i) {
        const double value = static_cast<ComputeType<T>>(p[i]);
        return value * value;
      });
    });
  });
}

void MaxLast(In x, Out y, Out index) {
  const int64_t columns = x.dim(-1);
  NW_CHECK_GT(columns, 0) << "max over no elements of " << x;
  DispatchFloat(x.dtype(), "max_last", [&](auto tag) {
    using T = decltype(tag);
    const T* const px = x.data<T>();
    T* const py = y->data<T>();
    int32_t* const pi = index->data<int32_t>();
    ParallelFor(y->numel(), RowsPerTask(columns),
                [=](int64_t begin, int64_t end) {
                  for (int64_t r = begin; r < end; ++r) {
                    const T* const row = px + r * columns;
                    const T* const best = std::max_element(row, row + columns);
                    py[r] = *best;
                    pi[r] = static_cast<int32_t>(best - row);
                  }
                });
  });
}

// y = softmax(x) over `n` elements.
template <typename T>
void SoftmaxRow(const T* __restrict x, T* __restrict y, int64_t n) {
  using C = ComputeType<T>;
  const C largest = LaneMax<C>(n, -std::numeric_limits<C>::infinity(),
                               [=](int64_t i) { return static_cast<C>(x[i]); });
  // Two passes over the exponentials, so that bf16 rounds only the result.
  const C sum = LaneSum<C>(
      n, [=](int64_t i) { return math::Exp(static_cast<C>(x[i]) - largest); });
  const C inverse = C(1) / sum;
  for (int64_t i = 0; i < n; ++i) {
    y[i] = static_cast<T>(math::Exp(static_cast<C>(x[i]) - largest) * inverse);
  }
}

void Softmax(In x, Out y) {
  const int64_t columns = x.dim(-1);
  const int64_t rows = x.shape().NumelBefore(-1);
  DispatchFloat(x.dtype(), "softmax", [&](auto tag) {
    using T = decltype(tag);
    const T* const px = x.data<T>();
    T* const py = y->data<T>();
    ParallelFor(rows, RowsPerTask(columns), [=](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        SoftmaxRow(px + r * columns, py + r * columns, columns);
      }
    });
  });
}

// dx = y (dy - sum(y dy)).
template <typename T>
void SoftmaxGradRow(const T* __restrict y, const T* __restrict dy,
                    T* __restrict dx, int64_t n) {
  using C = ComputeType<T>;
  const C dot = LaneSum<C>(n, [=](int64_t i) {
    return static_cast<C>(y[i]) * static_cast<C>(dy[i]);
  });
  for (int64_t i = 0; i < n; ++i) {
    dx[i] =
        static_cast<T>(static_cast<C>(y[i]) * (static_cast<C>(dy[i]) - dot));
  }
}

void SoftmaxGrad(In y, In dy, Out dx) {
  const int64_t columns = y.dim(-1);
  const int64_t rows = y.shape().NumelBefore(-1);
  DispatchFloat(y.dtype(), "softmax gradient", [&](auto tag) {
    using T = decltype(tag);
    const T* const py = y.data<T>();
    const T* const pdy = dy.data<T>();
    T* const pdx = dx->data<T>();
    ParallelFor(rows, RowsPerTask(columns), [=](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t i = r * columns;
        SoftmaxGradRow(py + i, pdy + i, pdx + i, columns);
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
NW_REGISTER_CPU(sum_to, SumTo);
NW_REGISTER_CPU(sum_squares, SumSquares);
NW_REGISTER_CPU(max_last, MaxLast);
NW_REGISTER_CPU(softmax, Softmax);
NW_REGISTER_CPU(softmax_grad, SoftmaxGrad);
}  // namespace
}  // namespace nextword::kernels
#endif  // HWY_ONCE

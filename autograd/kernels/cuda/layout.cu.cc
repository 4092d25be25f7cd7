// Layout: permutations, ranges along an axis, scattered elements.
#include <vector>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"

namespace nextword::kernels::cuda {
namespace {

// Calls f(T{}) with an unsigned type as wide as a dtype's elements.
template <typename F>
void DispatchWidth(DType dtype, const F& f) {
  switch (DTypeSize(dtype)) {
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    default:
      return f(uint64_t{});
  }
}

// Of y's dimensions, innermost first: sizes, and strides in x.
struct PermutePlan {
  static constexpr int kMaxDims = 8;
  int rank;
  int64_t sizes[kMaxDims], strides[kMaxDims];
};

template <typename T>
__global__ void PermuteKernel(int64_t n, PermutePlan plan, const T* x, T* y) {
  ForEachItem(n, [&](int64_t item) {
    int64_t rest = item, at = 0;
    for (int d = 0; d < plan.rank; ++d) {
      at += rest % plan.sizes[d] * plan.strides[d];
      rest /= plan.sizes[d];
    }
    y[item] = x[at];
  });
}

void Permute(In x, const std::vector<int>& order, Out y) {
  const int rank = y->shape().rank();
  NW_CHECK_LE(rank, PermutePlan::kMaxDims) << "permute of " << x;
  PermutePlan plan{.rank = rank, .sizes = {}, .strides = {}};
  for (int d = 0; d < rank; ++d) {
    const int axis = rank - 1 - d;
    plan.sizes[d] = y->dim(axis);
    plan.strides[d] = x.shape().NumelAfter(order[axis]);
  }
  DispatchWidth(x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    Launch(y->device(), GridForItems(y->numel(), y->device()), PermuteKernel<T>,
           y->numel(), plan, static_cast<const T*>(x.raw_data()),
           static_cast<T*>(y->raw_data()));
  });
}

// Runs of `run` elements, one from every `step_x` to one of every `step_y`.
template <typename T>
__global__ void CopyRangeKernel(int64_t n, int64_t run, int64_t step_x,
                                int64_t step_y, const T* x, T* y) {
  ForEachItem(n, [=](int64_t i) {
    y[i / run * step_y + i % run] = x[i / run * step_x + i % run];
  });
}

// Bytes that are copied at once.
using Unit = Pack<uint32_t, 4>;

void CopyRange(In x, int axis, int64_t from, Out y, int64_t to, int64_t count) {
  const int64_t after = x.shape().NumelAfter(axis);
  const int64_t run = count * after;
  const int64_t n = x.shape().NumelBefore(axis) * run;
  DispatchWidth(x.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const T* const px = static_cast<const T*>(x.raw_data()) + from * after;
    T* const py = static_cast<T*>(y->raw_data()) + to * after;
    const int64_t step_x = x.dim(axis) * after, step_y = y->dim(axis) * after;
    constexpr int kPack = sizeof(Unit) / sizeof(T);
    if (AlignedForPacks(kPack, run, px, py) && step_x % kPack == 0 &&
        step_y % kPack == 0) {
      Launch(y->device(), GridForItems(n / kPack, y->device()),
             CopyRangeKernel<Unit>, n / kPack, run / kPack, step_x / kPack,
             step_y / kPack, reinterpret_cast<const Unit*>(px),
             reinterpret_cast<Unit*>(py));
      return;
    }
    Launch(y->device(), GridForItems(n, y->device()), CopyRangeKernel<T>, n,
           run, step_x, step_y, px, py);
  });
}

template <typename T>
__global__ void ScatterLastKernel(int64_t rows, int64_t columns,
                                  const int32_t* index, const T* x, T* y) {
  ForEachItem(rows, [=](int64_t r) { y[r * columns + index[r]] = x[r]; });
}

void ScatterLast(In index, In x, Out y) {
  DispatchF32OrBf16(x.dtype(), "scatter_last", [&](auto tag) {
    using T = decltype(tag);
    Launch(y->device(), GridForItems(x.numel(), y->device()),
           ScatterLastKernel<T>, x.numel(), y->dim(-1), index.data<int32_t>(),
           x.data<T>(), y->data<T>());
  });
}

[[maybe_unused]] const bool registered =
    permute.Register(DeviceType::kCuda, Permute) &&
    copy_range.Register(DeviceType::kCuda, CopyRange) &&
    scatter_last.Register(DeviceType::kCuda, ScatterLast);

}  // namespace
}  // namespace nextword::kernels::cuda

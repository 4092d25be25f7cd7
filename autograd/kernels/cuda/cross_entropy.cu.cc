// Cross-entropy of logits against target ids.
#include <limits>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/math.h"

namespace nextword::kernels::cuda {
namespace {

// log(sum(exp(x))) of a row, at each thread of the block.
template <typename T>
NW_DEVICE float LogSumExp(const T* x, int64_t n) {
  const float largest =
      BlockMax(n, -std::numeric_limits<float>::infinity(),
               [=](int64_t i) { return static_cast<float>(x[i]); });
  const float sum = BlockSum<float>(n, [=](int64_t i) {
    return math::Exp(static_cast<float>(x[i]) - largest);
  });
  return largest + logf(sum);
}

template <typename T>
__global__ void CrossEntropyKernel(int64_t rows, int64_t columns,
                                   const T* logits, const int32_t* targets,
                                   float* losses, float* lse) {
  ForEachRow(rows, [=](int64_t row) {
    const int32_t target = targets[row];
    NW_DEVICE_CHECK(target < columns, "cross_entropy: target", target);
    const T* const x = logits + row * columns;
    const bool ignored = target < 0;
    const float sum = ignored ? 0.0f : LogSumExp(x, columns);
    if (threadIdx.x == 0) {
      lse[row] = sum;
      losses[row] = ignored ? 0.0f : sum - static_cast<float>(x[target]);
    }
  });
}

void CrossEntropy(In logits, In targets, Out losses, Out lse) {
  const int64_t rows = logits.dim(0);
  DispatchF32OrBf16(logits.dtype(), "cross_entropy", [&](auto tag) {
    using T = decltype(tag);
    Launch(losses->device(), GridForRows(rows, logits.dim(1), losses->device()),
           CrossEntropyKernel<T>, rows, logits.dim(1), logits.data<T>(),
           targets.data<int32_t>(), losses->data<float>(), lse->data<float>());
  });
}

// dlogits = (softmax(logits) - onehot(target)) dloss.
template <typename T>
__global__ void CrossEntropyGradKernel(int64_t rows, int64_t columns,
                                       const T* logits, const int32_t* targets,
                                       const float* lse, const float* dlosses,
                                       T* dlogits) {
  ForEachRow(rows, [=](int64_t row) {
    const int32_t target = targets[row];
    const T* const x = logits + row * columns;
    const float sum = lse[row];
    const float scale = target < 0 ? 0.0f : dlosses[row];
    ForEachInBlock(columns, [=](int64_t i) {
      const float p =
          target < 0 ? 0.0f : math::Exp(static_cast<float>(x[i]) - sum);
      dlogits[row * columns + i] =
          static_cast<T>((i == target ? p - 1.0f : p) * scale);
    });
  });
}

void CrossEntropyGrad(In logits, In targets, In lse, In dlosses, Out dlogits) {
  const int64_t rows = logits.dim(0);
  DispatchF32OrBf16(logits.dtype(), "cross_entropy gradient", [&](auto tag) {
    using T = decltype(tag);
    Launch(dlogits->device(),
           GridForRows(rows, logits.dim(1), dlogits->device()),
           CrossEntropyGradKernel<T>, rows, logits.dim(1), logits.data<T>(),
           targets.data<int32_t>(), lse.data<float>(), dlosses.data<float>(),
           dlogits->data<T>());
  });
}

// dlogits may be logits: each element is read and written by one thread.
template <typename T>
__global__ void CrossEntropyWithGradKernel(int64_t rows, int64_t columns,
                                           const float* logits,
                                           const int32_t* targets,
                                           float* losses, T* dlogits) {
  ForEachRow(rows, [=](int64_t row) {
    const int32_t target = targets[row];
    NW_DEVICE_CHECK(target < columns, "cross_entropy: target", target);
    const float* const x = logits + row * columns;
    T* const dx = dlogits + row * columns;
    if (target < 0) {
      ForEachInBlock(columns, [=](int64_t i) { dx[i] = static_cast<T>(0.0f); });
      if (threadIdx.x == 0) losses[row] = 0;
      return;
    }
    const float sum = LogSumExp(x, columns);
    if (threadIdx.x == 0) losses[row] = sum - x[target];
    __syncthreads();  // The target's logit is read before it is overwritten.
    ForEachInBlock(columns, [=](int64_t i) {
      const float p = math::Exp(x[i] - sum);
      dx[i] = static_cast<T>(i == target ? p - 1.0f : p);
    });
  });
}

void CrossEntropyWithGrad(Out logits, In targets, Out losses, Out dlogits) {
  const int64_t rows = logits->dim(0);
  DispatchF32OrBf16(dlogits->dtype(), "cross_entropy_with_grad", [&](auto tag) {
    using T = decltype(tag);
    Launch(logits->device(),
           GridForRows(rows, logits->dim(1), logits->device()),
           CrossEntropyWithGradKernel<T>, rows, logits->dim(1),
           logits->data<float>(), targets.data<int32_t>(),
           losses->data<float>(), dlogits->data<T>());
  });
}

[[maybe_unused]] const bool registered =
    cross_entropy.Register(DeviceType::kCuda, CrossEntropy) &&
    cross_entropy_grad.Register(DeviceType::kCuda, CrossEntropyGrad) &&
    cross_entropy_with_grad.Register(DeviceType::kCuda, CrossEntropyWithGrad);

}  // namespace
}  // namespace nextword::kernels::cuda

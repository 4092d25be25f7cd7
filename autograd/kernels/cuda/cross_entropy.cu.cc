// Cross-entropy of logits against target ids.
#include <limits>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"
#include "autograd/kernels/math.h"

namespace nextword::kernels::cuda {
namespace {

// sum(exp(x)) of some of a row's elements, by their largest.
struct ExpSum {
  float largest, sum;  // sum of exp(x - largest)
};

// In one pass (Milakov and Gimelshein 2018). That of no elements has the lowest
// number for its largest: minus infinity less itself would be no number.
struct AddExpSums {
  NW_DEVICE ExpSum operator()(ExpSum a, ExpSum b) const {
    const float largest = MaxOf()(a.largest, b.largest);
    return {largest, a.sum * math::Exp(a.largest - largest) +
                         b.sum * math::Exp(b.largest - largest)};
  }
};

// Elements that a thread takes at once. Each time, the sum so far is scaled
// anew: with fewer, arithmetic takes longer than memory does.
constexpr int kPack = 8;

// log(sum(exp(x))) of a row, at each thread of the block.
template <typename T>
NW_DEVICE float LogSumExp(const T* x, int64_t n, bool aligned) {
  ExpSum all{std::numeric_limits<float>::lowest(), 0.0f};
  ForEachPackInBlock<kPack>(n, [&](int64_t i, auto size) {
    const auto pack = Load<size>(x + i, aligned);
    float largest = all.largest;
    for (int k = 0; k < size; ++k) largest = MaxOf()(largest, pack.items[k]);
    float sum = all.sum * math::Exp(all.largest - largest);
    for (int k = 0; k < size; ++k) sum += math::Exp(pack.items[k] - largest);
    all = {largest, sum};
  });
  all = CombineBlock(all, AddExpSums());
  return all.largest + logf(all.sum);
}

// Of a block.
constexpr int kMaxThreads = 1024;

Grid GridForLogits(In logits) {
  return GridForRows(logits.dim(0), logits.dim(1) / kPack, logits.device(),
                     kMaxThreads);
}

// For f32 logits that are read twice: no more rows at work at once than half of
// an H100's second cache holds, or one for each multiprocessor.
Grid GridForReadingTwice(In logits) {
  constexpr int64_t kCache = int64_t{24} << 20;
  const int64_t row_bytes = logits.dim(1) * int64_t{sizeof(float)};
  const int64_t fit = kCache / std::max<int64_t>(1, row_bytes);
  const int64_t busy = NumMultiprocessors(logits.device());
  Grid grid = GridForLogits(logits);
  grid.blocks = std::min(grid.blocks, std::max(fit, busy));
  return grid;
}

template <typename T>
__global__ void __launch_bounds__(kMaxThreads)
    CrossEntropyKernel(int64_t rows, int64_t columns, bool aligned,
                       const T* logits, const int32_t* targets, float* losses,
                       float* lse) {
  ForEachRow(rows, [=](int64_t row) {
    const int32_t target = targets[row];
    NW_DEVICE_CHECK(target < columns, "cross_entropy: target", target);
    const T* const x = logits + row * columns;
    const bool ignored = target < 0;
    const float sum = ignored ? 0.0f : LogSumExp(x, columns, aligned);
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
    Launch(losses->device(), GridForLogits(logits), CrossEntropyKernel<T>, rows,
           logits.dim(1),
           AlignedForPacks(kPack, logits.dim(1), logits.data<T>()),
           logits.data<T>(), targets.data<int32_t>(), losses->data<float>(),
           lse->data<float>());
  });
}

// dlogits = (softmax(logits) - onehot(target)) dloss.
template <typename T>
__global__ void CrossEntropyGradKernel(int64_t rows, int64_t columns,
                                       bool aligned, const T* logits,
                                       const int32_t* targets, const float* lse,
                                       const float* dlosses, T* dlogits) {
  ForEachRow(rows, [=](int64_t row) {
    const int32_t target = targets[row];
    const T* const x = logits + row * columns;
    const float sum = lse[row];
    const float scale = target < 0 ? 0.0f : dlosses[row];
    ForEachPackInBlock<kPackOf<T>>(columns, [=](int64_t i, auto size) {
      auto pack = Load<size>(x + i, aligned);
      for (int k = 0; k < size; ++k) {
        float& item = pack.items[k];
        item = target < 0 ? 0.0f : math::Exp(item - sum);
        item = (i + k == target ? item - 1.0f : item) * scale;
      }
      Store(pack, dlogits + row * columns + i, aligned);
    });
  });
}

void CrossEntropyGrad(In logits, In targets, In lse, In dlosses, Out dlogits) {
  const int64_t rows = logits.dim(0);
  DispatchF32OrBf16(logits.dtype(), "cross_entropy gradient", [&](auto tag) {
    using T = decltype(tag);
    Launch(dlogits->device(),
           GridForRows(rows, logits.dim(1) / kPackOf<T>, dlogits->device()),
           CrossEntropyGradKernel<T>, rows, logits.dim(1),
           AlignedForPacks(kPackOf<T>, logits.dim(1), logits.data<T>(),
                           dlogits->data<T>()),
           logits.data<T>(), targets.data<int32_t>(), lse.data<float>(),
           dlosses.data<float>(), dlogits->data<T>());
  });
}

// dlogits may be logits: each element is read and written by one thread.
template <typename T>
__global__ void __launch_bounds__(kMaxThreads)
    CrossEntropyWithGradKernel(int64_t rows, int64_t columns, bool aligned,
                               const float* logits, const int32_t* targets,
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
    const float sum = LogSumExp(x, columns, aligned);
    if (threadIdx.x == 0) losses[row] = sum - x[target];
    __syncthreads();  // The target's logit is read before it is overwritten.
    ForEachPackInBlock<kPack>(columns, [=](int64_t i, auto size) {
      auto pack = Load<size>(x + i, aligned);
      for (int k = 0; k < size; ++k) {
        const float p = math::Exp(pack.items[k] - sum);
        pack.items[k] = i + k == target ? p - 1.0f : p;
      }
      Store(pack, dx + i, aligned);
    });
  });
}

void CrossEntropyWithGrad(Out logits, In targets, Out losses, Out dlogits) {
  const int64_t rows = logits->dim(0);
  DispatchF32OrBf16(dlogits->dtype(), "cross_entropy_with_grad", [&](auto tag) {
    using T = decltype(tag);
    Launch(logits->device(), GridForReadingTwice(*logits),
           CrossEntropyWithGradKernel<T>, rows, logits->dim(1),
           AlignedForPacks(kPack, logits->dim(1), logits->data<float>(),
                           dlogits->data<T>()),
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

// Softmax of scores of which attention's mask hides some.
#include <limits>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/math.h"
#include "autograd/kernels/visibility.h"

namespace nextword::kernels::cuda {
namespace {

template <typename T>
__global__ void MaskedSoftmaxKernel(int64_t rows, int64_t heads,
                                    int64_t queries, int64_t keys,
                                    Visibility visibility, const T* x, T* y) {
  ForEachRow(rows, [=](int64_t row) {
    const int64_t t = row % queries, b = row / (heads * queries);
    constexpr float kMasked = -std::numeric_limits<float>::infinity();
    const auto score = [=](int64_t s) {
      return visibility.Sees(b, t, s) ? static_cast<float>(x[row * keys + s])
                                      : kMasked;
    };
    const float largest = BlockMax(keys, kMasked, score);
    const auto p = [=](int64_t s) { return math::Exp(score(s) - largest); };
    const float inverse = 1.0f / BlockSum<float>(keys, p);
    ForEachInBlock(keys, [=](int64_t s) {
      y[row * keys + s] = static_cast<T>(p(s) * inverse);
    });
  });
}

void MaskedSoftmax(In x, const AttentionMask& mask, Out y) {
  const int64_t heads = x.dim(1), queries = x.dim(2), keys = x.dim(3);
  const int64_t rows = x.dim(0) * heads * queries;
  const Visibility visibility(mask, queries, keys);
  DispatchF32OrBf16(x.dtype(), "masked softmax", [&](auto tag) {
    using T = decltype(tag);
    Launch(y->device(), GridForRows(rows, keys, y->device()),
           MaskedSoftmaxKernel<T>, rows, heads, queries, keys, visibility,
           x.data<T>(), y->data<T>());
  });
}

[[maybe_unused]] const bool registered =
    masked_softmax.Register(DeviceType::kCuda, MaskedSoftmax);

}  // namespace
}  // namespace nextword::kernels::cuda

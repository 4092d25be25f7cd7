// Optimizer updates, in place over flat buffers.
#include <cmath>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"
#include "autograd/kernels/stochastic_rounding.h"

namespace nextword::kernels::cuda {
namespace {

// AdamWParams as the kernel takes them, in f32.
struct AdamWFactors {
  explicit AdamWFactors(const AdamWParams& p)
      : beta1(static_cast<float>(p.beta1)),
        beta2(static_cast<float>(p.beta2)),
        rest1(static_cast<float>(1 - p.beta1)),
        rest2(static_cast<float>(1 - p.beta2)),
        correction1(static_cast<float>(
            1 / (1 - std::pow(p.beta1, static_cast<double>(p.step))))),
        correction2(static_cast<float>(
            1 / (1 - std::pow(p.beta2, static_cast<double>(p.step))))),
        rate(static_cast<float>(p.learning_rate)),
        keep(static_cast<float>(1 - p.learning_rate * p.weight_decay)),
        epsilon(static_cast<float>(p.epsilon)),
        scale(static_cast<float>(p.grad_scale)) {}

  float beta1, beta2, rest1, rest2, correction1, correction2, rate, keep,
      epsilon, scale;
};

// Rounds elements [i, i + kSize) of a tensor.
template <int kSize>
NW_DEVICE void RoundAndStore(const Floats<kSize>& x, const Rounding& rounding,
                             int64_t i, bool aligned, BFloat16* to) {
  if (!rounding.stochastic) return Store(x, to + i, aligned);
  const int64_t first = rounding.first + i;
  Pack<BFloat16, kSize> pack;
  if (kSize == 4 && first % 4 == 0) {
    const PhiloxBlock words =
        RandomWords(rounding.key, static_cast<uint32_t>(first / 4));
    for (int k = 0; k < kSize; ++k) {
      pack.items[k] = RoundStochastically(x.items[k], words.v[k]);
    }
  } else {
    for (int k = 0; k < kSize; ++k) {
      pack.items[k] =
          RoundStochastically(x.items[k], RandomWord(rounding.key, first + k));
    }
  }
  if (aligned) {
    *reinterpret_cast<Pack<BFloat16, kSize>*>(to + i) = pack;
  } else {
    for (int k = 0; k < kSize; ++k) to[i + k] = pack.items[k];
  }
}

__global__ void RoundKernel(int64_t n, bool aligned, Rounding rounding,
                            const float* x, BFloat16* y) {
  ForEachPack<kPackOf<float>>(n, [=](int64_t i, auto size) {
    constexpr int kSize = decltype(size)::value;
    RoundAndStore(Load<kSize>(x + i, aligned), rounding, i, aligned, y);
  });
}

// AdamW (Loshchilov and Hutter 2019), as on the CPU. `copy` may be null.
__global__ void AdamWKernel(int64_t n, bool aligned, AdamWFactors p,
                            Rounding rounding, float* param, float* grad,
                            float* m, float* v, BFloat16* copy) {
  ForEachPack<kPackOf<float>>(n, [=](int64_t i, auto size) {
    constexpr int kSize = decltype(size)::value;
    const auto load = [=](const float* from) {
      return Load<kSize>(from + i, aligned);
    };
    const auto g = ForItems([=](float x) { return x * p.scale; }, load(grad));
    Store(Floats<kSize>{}, grad + i, aligned);
    const auto mean =
        ForItems([=](float m, float g) { return p.beta1 * m + p.rest1 * g; },
                 load(m), g);
    const auto square = ForItems(
        [=](float v, float g) { return p.beta2 * v + p.rest2 * g * g; },
        load(v), g);
    Store(mean, m + i, aligned);
    Store(square, v + i, aligned);
    const auto updated = ForItems(
        [=](float x, float mean, float square) {
          const float denominator = sqrtf(square * p.correction2) + p.epsilon;
          return p.keep * x - p.rate * (mean * p.correction1) / denominator;
        },
        load(param), mean, square);
    Store(updated, param + i, aligned);
    if (copy != nullptr) RoundAndStore(updated, rounding, i, aligned, copy);
  });
}

__global__ void SgdKernel(int64_t n, bool aligned, float rate, float beta,
                          float keep, float scale, float* param, float* grad,
                          float* momentum, BFloat16* copy) {
  ForEachPack<kPackOf<float>>(n, [=](int64_t i, auto size) {
    constexpr int kSize = decltype(size)::value;
    const auto step = ForItems(
        [=](float momentum, float g) { return beta * momentum + scale * g; },
        Load<kSize>(momentum + i, aligned), Load<kSize>(grad + i, aligned));
    Store(step, momentum + i, aligned);
    Store(Floats<kSize>{}, grad + i, aligned);
    const auto updated =
        ForItems([=](float x, float step) { return keep * x - rate * step; },
                 Load<kSize>(param + i, aligned), step);
    Store(updated, param + i, aligned);
    if (copy != nullptr) Store(updated, copy + i, aligned);
  });
}

BFloat16* DataOrNull(Out copy) {
  return copy->defined() ? copy->data<BFloat16>() : nullptr;
}

// A thread per pack.
Grid GridFor(Out param) {
  return GridForItems(param->numel() / kPackOf<float>, param->device());
}

template <typename... T>
bool Aligned(const T*... pointers) {
  return AlignedForPacks(kPackOf<float>, 0, pointers...);
}

void RoundToBf16(In x, const Rounding& rounding, Out y) {
  const float* const px = x.data<float>();
  BFloat16* const py = y->data<BFloat16>();
  Launch(y->device(), GridFor(y), RoundKernel, x.numel(), Aligned(px, py),
         rounding, px, py);
}

void AdamW(Out param, Out grad, Out m, Out v, Out copy,
           const AdamWParams& params) {
  float* const pparam = param->data<float>();
  float* const pgrad = grad->data<float>();
  float* const pm = m->data<float>();
  float* const pv = v->data<float>();
  BFloat16* const pcopy = DataOrNull(copy);
  Launch(param->device(), GridFor(param), AdamWKernel, param->numel(),
         Aligned(pparam, pgrad, pm, pv, pcopy), AdamWFactors(params),
         params.rounding, pparam, pgrad, pm, pv, pcopy);
}

void Sgd(Out param, Out grad, Out momentum, Out copy, double learning_rate,
         double beta, double weight_decay, double grad_scale) {
  float* const pparam = param->data<float>();
  float* const pgrad = grad->data<float>();
  float* const pmomentum = momentum->data<float>();
  BFloat16* const pcopy = DataOrNull(copy);
  Launch(param->device(), GridFor(param), SgdKernel, param->numel(),
         Aligned(pparam, pgrad, pmomentum, pcopy),
         static_cast<float>(learning_rate), static_cast<float>(beta),
         static_cast<float>(1 - learning_rate * weight_decay),
         static_cast<float>(grad_scale), pparam, pgrad, pmomentum, pcopy);
}

[[maybe_unused]] const bool registered =
    round_to_bf16.Register(DeviceType::kCuda, RoundToBf16) &&
    adamw.Register(DeviceType::kCuda, AdamW) &&
    sgd.Register(DeviceType::kCuda, Sgd);

}  // namespace
}  // namespace nextword::kernels::cuda

// Optimizer updates, in place over flat buffers.
#include <cmath>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"

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

// AdamW (Loshchilov and Hutter 2019), as on the CPU. `copy` may be null.
__global__ void AdamWKernel(int64_t n, AdamWFactors p, float* param,
                            float* grad, float* m, float* v, BFloat16* copy) {
  ForEachItem(n, [=](int64_t i) {
    const float g = grad[i] * p.scale;
    grad[i] = 0;
    const float mean = p.beta1 * m[i] + p.rest1 * g;
    const float square = p.beta2 * v[i] + p.rest2 * g * g;
    m[i] = mean;
    v[i] = square;
    const float denominator = sqrtf(square * p.correction2) + p.epsilon;
    const float updated =
        p.keep * param[i] - p.rate * (mean * p.correction1) / denominator;
    param[i] = updated;
    if (copy != nullptr) copy[i] = BFloat16(updated);
  });
}

__global__ void SgdKernel(int64_t n, float rate, float beta, float keep,
                          float scale, float* param, float* grad,
                          float* momentum, BFloat16* copy) {
  ForEachItem(n, [=](int64_t i) {
    const float step = beta * momentum[i] + scale * grad[i];
    momentum[i] = step;
    grad[i] = 0;
    const float updated = keep * param[i] - rate * step;
    param[i] = updated;
    if (copy != nullptr) copy[i] = BFloat16(updated);
  });
}

BFloat16* DataOrNull(Out copy) {
  return copy->defined() ? copy->data<BFloat16>() : nullptr;
}

void AdamW(Out param, Out grad, Out m, Out v, Out copy,
           const AdamWParams& params) {
  Launch(param->device(), GridForItems(param->numel(), param->device()),
         AdamWKernel, param->numel(), AdamWFactors(params),
         param->data<float>(), grad->data<float>(), m->data<float>(),
         v->data<float>(), DataOrNull(copy));
}

void Sgd(Out param, Out grad, Out momentum, Out copy, double learning_rate,
         double beta, double weight_decay, double grad_scale) {
  Launch(param->device(), GridForItems(param->numel(), param->device()),
         SgdKernel, param->numel(), static_cast<float>(learning_rate),
         static_cast<float>(beta),
         static_cast<float>(1 - learning_rate * weight_decay),
         static_cast<float>(grad_scale), param->data<float>(),
         grad->data<float>(), momentum->data<float>(), DataOrNull(copy));
}

[[maybe_unused]] const bool registered =
    adamw.Register(DeviceType::kCuda, AdamW) &&
    sgd.Register(DeviceType::kCuda, Sgd);

}  // namespace
}  // namespace nextword::kernels::cuda

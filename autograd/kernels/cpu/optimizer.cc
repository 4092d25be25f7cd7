// Optimizer updates, in place over flat buffers.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/optimizer.cc"
#include "hwy/foreach_target.h"

#include <cmath>
#include <type_traits>

#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/cpu/register.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

// AdamW (Loshchilov and Hutter 2019): m and v are decaying averages of g and
// g^2; param -= lr (m' / (sqrt(v') + epsilon) + weight_decay param), where m'
// and v' are m and v over 1 - beta^step.
template <typename T>
void AdamWRange(T* __restrict param, T* __restrict grad, T* __restrict m,
                T* __restrict v, int64_t n, const AdamWParams& p) {
  const T beta1 = static_cast<T>(p.beta1), beta2 = static_cast<T>(p.beta2);
  const T rest1 = static_cast<T>(1 - p.beta1);
  const T rest2 = static_cast<T>(1 - p.beta2);
  const T correction1 = static_cast<T>(1 / (1 - std::pow(p.beta1, p.step)));
  const T correction2 = static_cast<T>(1 / (1 - std::pow(p.beta2, p.step)));
  const T rate = static_cast<T>(p.learning_rate);
  const T keep = static_cast<T>(1 - p.learning_rate * p.weight_decay);
  const T epsilon = static_cast<T>(p.epsilon);
  const T scale = static_cast<T>(p.grad_scale);
  for (int64_t i = 0; i < n; ++i) {
    const T g = grad[i] * scale;
    grad[i] = 0;
    m[i] = beta1 * m[i] + rest1 * g;
    v[i] = beta2 * v[i] + rest2 * g * g;
    const T denominator = std::sqrt(v[i] * correction2) + epsilon;
    param[i] = keep * param[i] - rate * (m[i] * correction1) / denominator;
  }
}

// momentum = beta momentum + g; param -= lr (momentum + weight_decay param).
template <typename T>
void SgdRange(T* __restrict param, T* __restrict grad, T* __restrict momentum,
              int64_t n, T rate, T beta, T keep, T scale) {
  for (int64_t i = 0; i < n; ++i) {
    momentum[i] = beta * momentum[i] + scale * grad[i];
    grad[i] = 0;
    param[i] = keep * param[i] - rate * momentum[i];
  }
}

// The range has just been written and is still in the cache.
template <typename T>
void CopyRange(const T* __restrict param, BFloat16* __restrict copy,
               int64_t n) {
  for (int64_t i = 0; i < n; ++i) copy[i] = BFloat16(param[i]);
}

// Calls update(T*, begin, end) for all of `param`, whose type is T*.
template <typename Update>
void UpdateAll(const char* op, Out param, Out copy, const Update& update) {
  DispatchFloat(param->dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    if constexpr (std::is_same_v<T, BFloat16>) {
      NW_CHECK(false) << op << ": master weights are not bf16";
    } else {
      T* const p = param->data<T>();
      BFloat16* const narrow =
          copy->defined() ? copy->data<BFloat16>() : nullptr;
      ParallelFor(param->numel(), kChunk, [&](int64_t begin, int64_t end) {
        update(p, begin, end);
        if (narrow != nullptr)
          CopyRange(p + begin, narrow + begin, end - begin);
      });
    }
  });
}

void AdamW(Out param, Out grad, Out m, Out v, Out copy,
           const AdamWParams& params) {
  UpdateAll("adamw", param, copy, [&](auto* p, int64_t begin, int64_t end) {
    using T = std::remove_reference_t<decltype(*p)>;
    AdamWRange<T>(p + begin, grad->data<T>() + begin, m->data<T>() + begin,
                  v->data<T>() + begin, end - begin, params);
  });
}

void Sgd(Out param, Out grad, Out momentum, Out copy, double learning_rate,
         double beta, double weight_decay, double grad_scale) {
  UpdateAll("sgd", param, copy, [&](auto* p, int64_t begin, int64_t end) {
    using T = std::remove_reference_t<decltype(*p)>;
    SgdRange<T>(p + begin, grad->data<T>() + begin, momentum->data<T>() + begin,
                end - begin, static_cast<T>(learning_rate),
                static_cast<T>(beta),
                static_cast<T>(1 - learning_rate * weight_decay),
                static_cast<T>(grad_scale));
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nextword::kernels {
namespace {
NW_REGISTER_CPU(adamw, AdamW);
NW_REGISTER_CPU(sgd, Sgd);
}  // namespace
}  // namespace nextword::kernels
#endif  // HWY_ONCE

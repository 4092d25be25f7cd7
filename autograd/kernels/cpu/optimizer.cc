// Optimizer updates, in place over flat buffers.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/optimizer.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/cpu/register.h"
#include "autograd/kernels/stochastic_rounding.h"
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

void RoundNearest(const float* __restrict x, BFloat16* __restrict y,
                  int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = BFloat16(x[i]);
}

// x is element `first` of the key's stream.
void RoundAtRandom(const float* x, const RandomKey& key, int64_t first,
                   BFloat16* y, int64_t n) {
  // From where a block of the generator begins.
  for (int64_t i = -(first % 4); i < n; i += 4) {
    const PhiloxBlock words =
        RandomWords(key, static_cast<uint32_t>((first + i) / 4));
    for (int64_t j = std::max<int64_t>(i, 0); j < std::min(n, i + 4); ++j) {
      y[j] = RoundStochastically(x[j], words.v[j - i]);
    }
  }
}

// Elements [begin, end) of a tensor.
void RoundRange(const float* x, const Rounding& rounding, int64_t begin,
                int64_t end, BFloat16* y) {
  if (rounding.stochastic) {
    RoundAtRandom(x + begin, rounding.key, rounding.first + begin, y + begin,
                  end - begin);
  } else {
    RoundNearest(x + begin, y + begin, end - begin);
  }
}

void RoundToBf16(In x, const Rounding& rounding, Out y) {
  const float* const px = x.data<float>();
  BFloat16* const py = y->data<BFloat16>();
  ParallelFor(x.numel(), kChunk, [&](int64_t begin, int64_t end) {
    RoundRange(px, rounding, begin, end, py);
  });
}

// Calls update(T*, begin, end) for all of `param`, whose type is T*. Each range
// is rounded while it is in the cache.
template <typename Update>
void UpdateAll(const char* op, Out param, Out copy, const Rounding& rounding,
               const Update& update) {
  DispatchFloat(param->dtype(), op, [&](auto tag) {
    using T = decltype(tag);
    if constexpr (std::is_same_v<T, BFloat16>) {
      NW_CHECK(false) << op << ": master weights are not bf16";
    } else {
      NW_CHECK(!copy->defined() || param->dtype() == DType::kF32)
          << op << ": " << *copy << " of " << *param;
      T* const p = param->data<T>();
      ParallelFor(param->numel(), kChunk, [&](int64_t begin, int64_t end) {
        update(p, begin, end);
        if constexpr (std::is_same_v<T, float>) {
          if (!copy->defined()) return;
          RoundRange(p, rounding, begin, end, copy->data<BFloat16>());
        }
      });
    }
  });
}

void AdamW(Out param, Out grad, Out m, Out v, Out copy,
           const AdamWParams& params) {
  UpdateAll("adamw", param, copy, params.rounding,
            [&](auto* p, int64_t begin, int64_t end) {
              using T = std::remove_reference_t<decltype(*p)>;
              AdamWRange<T>(p + begin, grad->data<T>() + begin,
                            m->data<T>() + begin, v->data<T>() + begin,
                            end - begin, params);
            });
}

void Sgd(Out param, Out grad, Out momentum, Out copy, double learning_rate,
         double beta, double weight_decay, double grad_scale) {
  UpdateAll("sgd", param, copy, Rounding(),
            [&](auto* p, int64_t begin, int64_t end) {
              using T = std::remove_reference_t<decltype(*p)>;
              SgdRange<T>(p + begin, grad->data<T>() + begin,
                          momentum->data<T>() + begin, end - begin,
                          static_cast<T>(learning_rate), static_cast<T>(beta),
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
NW_REGISTER_CPU(round_to_bf16, RoundToBf16);
NW_REGISTER_CPU(adamw, AdamW);
NW_REGISTER_CPU(sgd, Sgd);
}  // namespace
}  // namespace nextword::kernels
#endif  // HWY_ONCE

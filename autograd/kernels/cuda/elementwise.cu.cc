// Element-wise kernels of one input, and of two with broadcasting.
#include "autograd/kernels/broadcast_plan.h"
#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"
#include "autograd/kernels/functors.h"

namespace nextword::kernels::cuda {
namespace {

// Functors of functors.h as Map takes them.
template <typename F>
struct ValueOf {
  template <typename... T>
  NW_DEVICE float operator()(T... x) const {
    return F::Value(x...);
  }
};

template <typename F>
struct GradOf {
  NW_DEVICE float operator()(float x, float dy) const { return F::Grad(x, dy); }
};

template <typename F>
void Unary(In x, Out y) {
  DispatchF32OrBf16(x.dtype(), "unary", [&](auto tag) {
    using T = decltype(tag);
    Map(y->device(), x.numel(), ValueOf<F>(), y->data<T>(), x.data<T>());
  });
}

template <typename F>
void UnaryGrad(In x, In dy, Out dx) {
  DispatchF32OrBf16(x.dtype(), "unary gradient", [&](auto tag) {
    using T = decltype(tag);
    Map(dx->device(), x.numel(), GradOf<F>(), dx->data<T>(), x.data<T>(),
        dy.data<T>());
  });
}

template <typename F, typename T>
__global__ void BinaryKernel(int64_t n, BroadcastPlan plan, const T* a,
                             const T* b, T* y) {
  ForEachItem(n, [&](int64_t item) {
    int64_t rest = item, at_a = 0, at_b = 0;
    for (int d = 0; d < plan.rank; ++d) {
      const BroadcastPlan::Dim& dim = plan.dims[d];
      const int64_t i = rest % dim.size;
      rest /= dim.size;
      at_a += i * dim.stride_a;
      at_b += i * dim.stride_b;
    }
    y[item] = static_cast<T>(
        F::Value(static_cast<float>(a[at_a]), static_cast<float>(b[at_b])));
  });
}

template <typename F>
void Binary(In a, In b, Out y) {
  const BroadcastPlan plan = PlanBroadcast(a.shape(), b.shape(), y->shape());
  DispatchF32OrBf16(a.dtype(), "binary", [&](auto tag) {
    using T = decltype(tag);
    if (a.shape() == b.shape()) {
      Map(y->device(), y->numel(), ValueOf<F>(), y->data<T>(), a.data<T>(),
          b.data<T>());
      return;
    }
    Launch(y->device(), GridForItems(y->numel(), y->device()),
           BinaryKernel<F, T>, y->numel(), plan, a.data<T>(), b.data<T>(),
           y->data<T>());
  });
}

struct Times {
  NW_DEVICE float operator()(float x) const { return factor * x; }

  float factor;
};

void Scale(In x, double a, Out y) {
  DispatchF32OrBf16(x.dtype(), "scale", [&](auto tag) {
    using T = decltype(tag);
    Map(y->device(), x.numel(), Times{static_cast<float>(a)}, y->data<T>(),
        x.data<T>());
  });
}

// y[r, c] = silu(x[r, c]) x[r, columns + c], of packs that lie in one row.
template <int kPack, typename T>
__global__ void SwigluKernel(int64_t n, int64_t columns, const T* x, T* y) {
  ForEachItem(n / kPack, [=](int64_t item) {
    const int64_t i = item * kPack;
    const T* const gate = x + i / columns * columns + i;
    Store(ForItems(
              [](float g, float up) { return functors::Silu::Value(g) * up; },
              Load<kPack>(gate, true), Load<kPack>(gate + columns, true)),
          y + i, true);
  });
}

void Swiglu(In x, Out y) {
  DispatchF32OrBf16(x.dtype(), "swiglu", [&](auto tag) {
    using T = decltype(tag);
    constexpr int kPack = kPackOf<T>;
    const bool packs =
        AlignedForPacks(kPack, y->dim(-1), x.data<T>(), y->data<T>());
    Launch(y->device(),
           GridForItems(y->numel() / (packs ? kPack : 1), y->device()),
           packs ? SwigluKernel<kPack, T> : SwigluKernel<1, T>, y->numel(),
           y->dim(-1), x.data<T>(), y->data<T>());
  });
}

template <int kPack, typename T>
__global__ void SwigluGradKernel(int64_t n, int64_t columns, const T* x,
                                 const T* dy, T* dx) {
  ForEachItem(n / kPack, [=](int64_t item) {
    const int64_t i = item * kPack;
    const int64_t at = i / columns * columns + i;
    const auto gate = Load<kPack>(x + at, true);
    const auto up = Load<kPack>(x + at + columns, true);
    const auto d = Load<kPack>(dy + i, true);
    Store(ForItems([](float g, float u,
                      float d) { return functors::Silu::Grad(g, d * u); },
                   gate, up, d),
          dx + at, true);
    Store(
        ForItems([](float g, float d) { return d * functors::Silu::Value(g); },
                 gate, d),
        dx + at + columns, true);
  });
}

void SwigluGrad(In x, In dy, Out dx) {
  DispatchF32OrBf16(x.dtype(), "swiglu gradient", [&](auto tag) {
    using T = decltype(tag);
    constexpr int kPack = kPackOf<T>;
    const bool packs = AlignedForPacks(kPack, dy.dim(-1), x.data<T>(),
                                       dy.data<T>(), dx->data<T>());
    Launch(dx->device(),
           GridForItems(dy.numel() / (packs ? kPack : 1), dx->device()),
           packs ? SwigluGradKernel<kPack, T> : SwigluGradKernel<1, T>,
           dy.numel(), dy.dim(-1), x.data<T>(), dy.data<T>(), dx->data<T>());
  });
}

[[maybe_unused]] const bool registered =
    add.Register(DeviceType::kCuda, Binary<functors::Add>) &&
    sub.Register(DeviceType::kCuda, Binary<functors::Sub>) &&
    mul.Register(DeviceType::kCuda, Binary<functors::Mul>) &&
    div.Register(DeviceType::kCuda, Binary<functors::Div>) &&
    scale.Register(DeviceType::kCuda, Scale) &&
    exp.Register(DeviceType::kCuda, Unary<functors::Exp>) &&
    log.Register(DeviceType::kCuda, Unary<functors::Log>) &&
    sqrt.Register(DeviceType::kCuda, Unary<functors::Sqrt>) &&
    tanh.Register(DeviceType::kCuda, Unary<functors::Tanh>) &&
    silu.Register(DeviceType::kCuda, Unary<functors::Silu>) &&
    silu_grad.Register(DeviceType::kCuda, UnaryGrad<functors::Silu>) &&
    gelu.Register(DeviceType::kCuda, Unary<functors::Gelu>) &&
    gelu_grad.Register(DeviceType::kCuda, UnaryGrad<functors::Gelu>) &&
    gelu_tanh.Register(DeviceType::kCuda, Unary<functors::GeluTanh>) &&
    gelu_tanh_grad.Register(DeviceType::kCuda, UnaryGrad<functors::GeluTanh>) &&
    swiglu.Register(DeviceType::kCuda, Swiglu) &&
    swiglu_grad.Register(DeviceType::kCuda, SwigluGrad);

}  // namespace
}  // namespace nextword::kernels::cuda

// Element-wise kernels of one input, and of two with broadcasting.
#include "autograd/kernels/broadcast_plan.h"
#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/functors.h"

namespace nextword::kernels::cuda {
namespace {

template <typename F, typename T>
__global__ void UnaryKernel(int64_t n, const T* x, T* y) {
  ForEachItem(n, [=](int64_t i) {
    y[i] = static_cast<T>(F::Value(static_cast<float>(x[i])));
  });
}

template <typename F, typename T>
__global__ void UnaryGradKernel(int64_t n, const T* x, const T* dy, T* dx) {
  ForEachItem(n, [=](int64_t i) {
    dx[i] = static_cast<T>(
        F::Grad(static_cast<float>(x[i]), static_cast<float>(dy[i])));
  });
}

template <typename F>
void Unary(In x, Out y) {
  DispatchF32OrBf16(x.dtype(), "unary", [&](auto tag) {
    using T = decltype(tag);
    Launch(y->device(), GridForItems(x.numel(), y->device()), UnaryKernel<F, T>,
           x.numel(), x.data<T>(), y->data<T>());
  });
}

template <typename F>
void UnaryGrad(In x, In dy, Out dx) {
  DispatchF32OrBf16(x.dtype(), "unary gradient", [&](auto tag) {
    using T = decltype(tag);
    Launch(dx->device(), GridForItems(x.numel(), dx->device()),
           UnaryGradKernel<F, T>, x.numel(), x.data<T>(), dy.data<T>(),
           dx->data<T>());
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
    Launch(y->device(), GridForItems(y->numel(), y->device()),
           BinaryKernel<F, T>, y->numel(), plan, a.data<T>(), b.data<T>(),
           y->data<T>());
  });
}

template <typename T>
__global__ void ScaleKernel(int64_t n, float a, const T* x, T* y) {
  ForEachItem(n, [=](int64_t i) {
    y[i] = static_cast<T>(a * static_cast<float>(x[i]));
  });
}

void Scale(In x, double a, Out y) {
  DispatchF32OrBf16(x.dtype(), "scale", [&](auto tag) {
    using T = decltype(tag);
    Launch(y->device(), GridForItems(x.numel(), y->device()), ScaleKernel<T>,
           x.numel(), static_cast<float>(a), x.data<T>(), y->data<T>());
  });
}

// y[r, c] = silu(x[r, c]) x[r, columns + c].
template <typename T>
__global__ void SwigluKernel(int64_t n, int64_t columns, const T* x, T* y) {
  ForEachItem(n, [=](int64_t i) {
    const T* const gate = x + i / columns * 2 * columns + i % columns;
    y[i] = static_cast<T>(functors::Silu::Value(static_cast<float>(*gate)) *
                          static_cast<float>(gate[columns]));
  });
}

void Swiglu(In x, Out y) {
  DispatchF32OrBf16(x.dtype(), "swiglu", [&](auto tag) {
    using T = decltype(tag);
    Launch(y->device(), GridForItems(y->numel(), y->device()), SwigluKernel<T>,
           y->numel(), y->dim(-1), x.data<T>(), y->data<T>());
  });
}

template <typename T>
__global__ void SwigluGradKernel(int64_t n, int64_t columns, const T* x,
                                 const T* dy, T* dx) {
  ForEachItem(n, [=](int64_t i) {
    const int64_t at = i / columns * 2 * columns + i % columns;
    const float gate = static_cast<float>(x[at]);
    const float up = static_cast<float>(x[at + columns]);
    const float d = static_cast<float>(dy[i]);
    dx[at] = static_cast<T>(functors::Silu::Grad(gate, d * up));
    dx[at + columns] = static_cast<T>(d * functors::Silu::Value(gate));
  });
}

void SwigluGrad(In x, In dy, Out dx) {
  DispatchF32OrBf16(x.dtype(), "swiglu gradient", [&](auto tag) {
    using T = decltype(tag);
    Launch(dx->device(), GridForItems(dy.numel(), dx->device()),
           SwigluGradKernel<T>, dy.numel(), dy.dim(-1), x.data<T>(),
           dy.data<T>(), dx->data<T>());
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

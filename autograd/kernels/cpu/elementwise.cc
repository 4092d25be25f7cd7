// Element-wise kernels of one input, and of two with broadcasting.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/elementwise.cc"
#include "hwy/foreach_target.h"

#include "autograd/kernels/broadcast_plan.h"
#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/cpu/register.h"
#include "autograd/kernels/functors.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

template <typename F, typename T>
void UnaryRange(const T* __restrict x, T* __restrict y, int64_t n) {
  using C = ComputeType<T>;
  for (int64_t i = 0; i < n; ++i) {
    y[i] = static_cast<T>(F::Value(static_cast<C>(x[i])));
  }
}

template <typename F, typename T>
void UnaryGradRange(const T* __restrict x, const T* __restrict dy,
                    T* __restrict dx, int64_t n) {
  using C = ComputeType<T>;
  for (int64_t i = 0; i < n; ++i) {
    dx[i] =
        static_cast<T>(F::Grad(static_cast<C>(x[i]), static_cast<C>(dy[i])));
  }
}

template <typename F>
void Unary(In x, Out y) {
  DispatchFloat(x.dtype(), "unary", [&](auto tag) {
    using T = decltype(tag);
    const T* const px = x.data<T>();
    T* const py = y->data<T>();
    ParallelFor(x.numel(), kChunk, [=](int64_t begin, int64_t end) {
      UnaryRange<F>(px + begin, py + begin, end - begin);
    });
  });
}

template <typename F>
void UnaryGrad(In x, In dy, Out dx) {
  DispatchFloat(x.dtype(), "unary gradient", [&](auto tag) {
    using T = decltype(tag);
    const T* const px = x.data<T>();
    const T* const pdy = dy.data<T>();
    T* const pdx = dx->data<T>();
    ParallelFor(x.numel(), kChunk, [=](int64_t begin, int64_t end) {
      UnaryGradRange<F>(px + begin, pdy + begin, pdx + begin, end - begin);
    });
  });
}

// y[i] = F(a[i * SA], b[i * SB]); strides are 0 or 1.
template <typename F, int SA, int SB, typename T>
void BinaryRange(const T* __restrict a, const T* __restrict b, T* __restrict y,
                 int64_t n) {
  using C = ComputeType<T>;
  for (int64_t i = 0; i < n; ++i) {
    y[i] = static_cast<T>(
        F::Value(static_cast<C>(a[i * SA]), static_cast<C>(b[i * SB])));
  }
}

template <typename F, typename T>
void BinaryInner(const BroadcastPlan::Dim& inner, const T* a, const T* b, T* y,
                 int64_t n) {
  if (inner.stride_a == 0 && inner.stride_b == 0) {
    BinaryRange<F, 0, 0>(a, b, y, n);
  } else if (inner.stride_a == 0) {
    BinaryRange<F, 0, 1>(a, b, y, n);
  } else if (inner.stride_b == 0) {
    BinaryRange<F, 1, 0>(a, b, y, n);
  } else {
    BinaryRange<F, 1, 1>(a, b, y, n);
  }
}

template <typename F>
void Binary(In a, In b, Out y) {
  if (y->numel() == 0) return;
  const BroadcastPlan plan = PlanBroadcast(a.shape(), b.shape(), y->shape());
  const BroadcastPlan::Dim run =
      plan.rank > 0 ? plan.dims[0] : BroadcastPlan::Dim{1, 0, 0};
  const int64_t inner = run.size;
  const int64_t rows = y->numel() / inner;
  DispatchFloat(a.dtype(), "binary", [&](auto tag) {
    using T = decltype(tag);
    const T* const pa = a.data<T>();
    const T* const pb = b.data<T>();
    T* const py = y->data<T>();
    if (rows == 1) {
      ParallelFor(inner, kChunk, [&](int64_t begin, int64_t end) {
        BinaryInner<F>(run, pa + begin * run.stride_a,
                       pb + begin * run.stride_b, py + begin, end - begin);
      });
      return;
    }
    ParallelFor(rows, RowsPerTask(inner), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        int64_t rest = row, offset_a = 0, offset_b = 0;
        for (int d = 1; d < plan.rank; ++d) {
          const BroadcastPlan::Dim& dim = plan.dims[d];
          offset_a += rest % dim.size * dim.stride_a;
          offset_b += rest % dim.size * dim.stride_b;
          rest /= dim.size;
        }
        BinaryInner<F>(run, pa + offset_a, pb + offset_b, py + row * inner,
                       inner);
      }
    });
  });
}

void Scale(In x, double a, Out y) {
  DispatchFloat(x.dtype(), "scale", [&](auto tag) {
    using T = decltype(tag);
    using C = ComputeType<T>;
    const T* const px = x.data<T>();
    T* const py = y->data<T>();
    const C factor = static_cast<C>(a);
    ParallelFor(x.numel(), kChunk, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        py[i] = static_cast<T>(factor * static_cast<C>(px[i]));
      }
    });
  });
}

// swiglu(x)[r, c] = silu(x[r, c]) * x[r, columns + c].
template <typename T>
void SwigluRow(const T* __restrict x, T* __restrict y, int64_t columns) {
  using C = ComputeType<T>;
  for (int64_t c = 0; c < columns; ++c) {
    y[c] = static_cast<T>(functors::Silu::Value(static_cast<C>(x[c])) *
                          static_cast<C>(x[columns + c]));
  }
}

template <typename T>
void SwigluGradRow(const T* __restrict x, const T* __restrict dy,
                   T* __restrict dx, int64_t columns) {
  using C = ComputeType<T>;
  for (int64_t c = 0; c < columns; ++c) {
    const C gate = static_cast<C>(x[c]);
    const C up = static_cast<C>(x[columns + c]);
    const C d = static_cast<C>(dy[c]);
    dx[c] = static_cast<T>(functors::Silu::Grad(gate, d * up));
    dx[columns + c] = static_cast<T>(d * functors::Silu::Value(gate));
  }
}

void Swiglu(In x, Out y) {
  const int64_t columns = y->dim(-1);
  const int64_t rows = y->shape().NumelBefore(-1);
  DispatchFloat(x.dtype(), "swiglu", [&](auto tag) {
    using T = decltype(tag);
    const T* const px = x.data<T>();
    T* const py = y->data<T>();
    ParallelFor(rows, RowsPerTask(columns), [=](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        SwigluRow(px + r * 2 * columns, py + r * columns, columns);
      }
    });
  });
}

void SwigluGrad(In x, In dy, Out dx) {
  const int64_t columns = dy.dim(-1);
  const int64_t rows = dy.shape().NumelBefore(-1);
  DispatchFloat(x.dtype(), "swiglu gradient", [&](auto tag) {
    using T = decltype(tag);
    const T* const px = x.data<T>();
    const T* const pdy = dy.data<T>();
    T* const pdx = dx->data<T>();
    ParallelFor(rows, RowsPerTask(columns), [=](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        SwigluGradRow(px + r * 2 * columns, pdy + r * columns,
                      pdx + r * 2 * columns, columns);
      }
    });
  });
}

void Add(In a, In b, Out y) { Binary<functors::Add>(a, b, y); }
void Sub(In a, In b, Out y) { Binary<functors::Sub>(a, b, y); }
void Mul(In a, In b, Out y) { Binary<functors::Mul>(a, b, y); }
void Div(In a, In b, Out y) { Binary<functors::Div>(a, b, y); }
void Exp(In x, Out y) { Unary<functors::Exp>(x, y); }
void Log(In x, Out y) { Unary<functors::Log>(x, y); }
void Sqrt(In x, Out y) { Unary<functors::Sqrt>(x, y); }
void Tanh(In x, Out y) { Unary<functors::Tanh>(x, y); }
void Silu(In x, Out y) { Unary<functors::Silu>(x, y); }
void SiluGrad(In x, In dy, Out dx) { UnaryGrad<functors::Silu>(x, dy, dx); }
void Gelu(In x, Out y) { Unary<functors::Gelu>(x, y); }
void GeluGrad(In x, In dy, Out dx) { UnaryGrad<functors::Gelu>(x, dy, dx); }
void GeluTanh(In x, Out y) { Unary<functors::GeluTanh>(x, y); }
void GeluTanhGrad(In x, In dy, Out dx) {
  UnaryGrad<functors::GeluTanh>(x, dy, dx);
}

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nextword::kernels {
namespace {
NW_REGISTER_CPU(add, Add);
NW_REGISTER_CPU(sub, Sub);
NW_REGISTER_CPU(mul, Mul);
NW_REGISTER_CPU(div, Div);
NW_REGISTER_CPU(scale, Scale);
NW_REGISTER_CPU(exp, Exp);
NW_REGISTER_CPU(log, Log);
NW_REGISTER_CPU(sqrt, Sqrt);
NW_REGISTER_CPU(tanh, Tanh);
NW_REGISTER_CPU(silu, Silu);
NW_REGISTER_CPU(silu_grad, SiluGrad);
NW_REGISTER_CPU(gelu, Gelu);
NW_REGISTER_CPU(gelu_grad, GeluGrad);
NW_REGISTER_CPU(gelu_tanh, GeluTanh);
NW_REGISTER_CPU(gelu_tanh_grad, GeluTanhGrad);
NW_REGISTER_CPU(swiglu, Swiglu);
NW_REGISTER_CPU(swiglu_grad, SwigluGrad);
}  // namespace
}  // namespace nextword::kernels
#endif  // HWY_ONCE

// Element-wise kernels of one input, and of two with broadcasting.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/cpu/elementwise.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <vector>

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

// The dimensions of a broadcast after merging neighbours that behave alike.
struct BroadcastPlan {
  struct Dim {
    int64_t size, stride_a, stride_b;
  };
  std::vector<Dim> outer;  // All but the last, outermost first.
  Dim inner{1, 0, 0};
};

BroadcastPlan MakePlan(const Shape& a, const Shape& b, const Shape& y) {
  std::vector<BroadcastPlan::Dim> dims;  // Innermost first.
  int64_t stride_a = 1, stride_b = 1;
  for (int i = 1; i <= y.rank(); ++i) {
    const int64_t size = y[-i];
    const int64_t da = i <= a.rank() ? a[-i] : 1;
    const int64_t db = i <= b.rank() ? b[-i] : 1;
    if (size == 1) continue;
    const BroadcastPlan::Dim dim{size, da == 1 ? 0 : stride_a,
                                 db == 1 ? 0 : stride_b};
    stride_a *= da;
    stride_b *= db;
    if (!dims.empty()) {
      BroadcastPlan::Dim& last = dims.back();
      if (dim.stride_a == last.stride_a * last.size &&
          dim.stride_b == last.stride_b * last.size) {
        last.size *= size;
        continue;
      }
    }
    dims.push_back(dim);
  }
  BroadcastPlan plan;
  if (dims.empty()) return plan;
  plan.inner = dims.front();
  plan.outer.assign(dims.rbegin(), dims.rend() - 1);
  return plan;
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
  const BroadcastPlan plan = MakePlan(a.shape(), b.shape(), y->shape());
  const int64_t inner = plan.inner.size;
  if (y->numel() == 0) return;
  const int64_t rows = y->numel() / inner;
  DispatchFloat(a.dtype(), "binary", [&](auto tag) {
    using T = decltype(tag);
    const T* const pa = a.data<T>();
    const T* const pb = b.data<T>();
    T* const py = y->data<T>();
    if (rows == 1) {
      ParallelFor(inner, kChunk, [&](int64_t begin, int64_t end) {
        BinaryInner<F>(plan.inner, pa + begin * plan.inner.stride_a,
                       pb + begin * plan.inner.stride_b, py + begin,
                       end - begin);
      });
      return;
    }
    ParallelFor(rows, RowsPerTask(inner), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        int64_t rest = row, offset_a = 0, offset_b = 0;
        for (auto dim = plan.outer.rbegin(); dim != plan.outer.rend(); ++dim) {
          const int64_t i = rest % dim->size;
          rest /= dim->size;
          offset_a += i * dim->stride_a;
          offset_b += i * dim->stride_b;
        }
        BinaryInner<F>(plan.inner, pa + offset_a, pb + offset_b,
                       py + row * inner, inner);
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

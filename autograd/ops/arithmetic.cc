#include "autograd/ops/arithmetic.h"

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"

namespace nextword {
namespace {

using BinaryKernel = Kernel<void(const Tensor&, const Tensor&, Tensor*)>;
using UnaryKernel = Kernel<void(const Tensor&, Tensor*)>;

Tensor Apply(const BinaryKernel& kernel, const Tensor& a, const Tensor& b) {
  NW_CHECK(a.dtype() == b.dtype()) << kernel.name() << ": " << a << ", " << b;
  Tensor y = Empty(BroadcastShape(kernel.name(), a.shape(), b.shape()),
                   a.dtype(), a.device());
  kernel(a, b, &y);
  return y;
}

Tensor Apply(const UnaryKernel& kernel, const Tensor& x) {
  Tensor y = EmptyLike(x);
  kernel(x, &y);
  return y;
}

Tensor Scaled(const Tensor& x, double factor) {
  Tensor y = EmptyLike(x);
  kernels::scale(x, factor, &y);
  return y;
}

// The gradient of something of shape `shape` that was broadcast.
Tensor SumTo(const Tensor& dy, const Shape& shape, DType dtype) {
  if (dy.shape() == shape) return dy;
  Tensor dx = Empty(shape, dtype, dy.device());
  kernels::sum_to(dy, &dx);
  return dx;
}
Tensor SumTo(const Tensor& dy, const Shape& shape) {
  return SumTo(dy, shape, dy.dtype());
}

}  // namespace

Variable Add(const Variable& a, const Variable& b) {
  return Record("add", Apply(kernels::add, a.value(), b.value()), {a, b},
                [sa = a.shape(), sb = b.shape()](const Tensor& dy) {
                  return Gradients{SumTo(dy, sa), SumTo(dy, sb)};
                });
}

Variable AddRows(const Variable& x, const Variable& table, int64_t first) {
  const Shape& shape = table.shape();
  NW_CHECK(x.shape().rank() >= 2 && shape.rank() == 2 &&
           x.dim(-1) == shape[1] && first >= 0 && first + x.dim(-2) <= shape[0])
      << "add_rows: " << x.value() << " and rows from " << first << " of "
      << table.value();
  const int64_t last = first + x.dim(-2);
  const Tensor rows = Cast(table.value().Rows(first, last), x.dtype());
  return Record("add_rows", Apply(kernels::add, x.value(), rows), {x, table},
                [shape, dtype = table.dtype(), first, last](
                    const Tensor& dy, const Vjp::Uses& uses) {
                  if (!uses[1].wanted) return Gradients{dy, Tensor()};
                  const bool add = uses[1].sum.defined();
                  const DType sum_dtype = SumDType(dy.dtype());
                  const Tensor sum =
                      add ? uses[1].sum : Zeros(shape, sum_dtype, dy.device());
                  Tensor rows = sum.Rows(first, last);
                  kernels::accumulate(SumTo(dy, rows.shape(), sum_dtype),
                                      &rows);
                  return Gradients{dy, add ? Tensor() : Cast(sum, dtype)};
                });
}

Variable Sub(const Variable& a, const Variable& b) {
  return Record("sub", Apply(kernels::sub, a.value(), b.value()), {a, b},
                [sa = a.shape(), sb = b.shape()](const Tensor& dy) {
                  return Gradients{SumTo(dy, sa), SumTo(Scaled(dy, -1), sb)};
                });
}

Variable Mul(const Variable& a, const Variable& b) {
  return Record("mul", Apply(kernels::mul, a.value(), b.value()), {a, b},
                [a = a.value(), b = b.value()](const Tensor& dy) {
                  return Gradients{
                      SumTo(Apply(kernels::mul, dy, b), a.shape()),
                      SumTo(Apply(kernels::mul, dy, a), b.shape())};
                });
}

Variable Div(const Variable& a, const Variable& b) {
  Tensor y = Apply(kernels::div, a.value(), b.value());
  return Record("div", y, {a, b},
                [sa = a.shape(), b = b.value(), y](const Tensor& dy) {
                  const Tensor da = Apply(kernels::div, dy, b);
                  const Tensor db = Scaled(Apply(kernels::mul, da, y), -1);
                  return Gradients{SumTo(da, sa), SumTo(db, b.shape())};
                });
}

Variable Scale(const Variable& x, double factor) {
  return Record(
      "scale", Scaled(x.value(), factor), {x},
      [factor](const Tensor& dy) { return Gradients{Scaled(dy, factor)}; });
}

Variable Cast(const Variable& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  return Record("cast", Cast(x.value(), dtype), {x},
                [from = x.dtype()](const Tensor& dy) {
                  return Gradients{Cast(dy, from)};
                });
}

Variable Exp(const Variable& x) {
  Tensor y = Apply(kernels::exp, x.value());
  return Record("exp", y, {x}, [y](const Tensor& dy) {
    return Gradients{Apply(kernels::mul, dy, y)};
  });
}

Variable Log(const Variable& x) {
  return Record("log", Apply(kernels::log, x.value()), {x},
                [x = x.value()](const Tensor& dy) {
                  return Gradients{Apply(kernels::div, dy, x)};
                });
}

Variable Sqrt(const Variable& x) {
  Tensor y = Apply(kernels::sqrt, x.value());
  return Record("sqrt", y, {x}, [y](const Tensor& dy) {
    return Gradients{Scaled(Apply(kernels::div, dy, y), 0.5)};
  });
}

Variable Tanh(const Variable& x) {
  Tensor y = Apply(kernels::tanh, x.value());
  return Record("tanh", y, {x}, [y](const Tensor& dy) {
    // dy (1 - y^2) = dy - dy y y
    const Tensor dyyy = Apply(kernels::mul, Apply(kernels::mul, dy, y), y);
    return Gradients{Apply(kernels::sub, dy, dyyy)};
  });
}

}  // namespace nextword

#include "autograd/ops/matmul.h"

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"

namespace nextword {
namespace {

// op(a) op(b) as a new tensor of `shape`.
Tensor Product(const Tensor& a, bool ta, const Tensor& b, bool tb,
               const Shape& shape) {
  Tensor y = Empty(shape, a.dtype(), a.device());
  kernels::matmul(a, ta, b, tb, false, &y);
  return y;
}

// op(a) op(b) as the gradient of an input of `shape`.
Tensor GradientProduct(const GradientUse& use, const Tensor& a, bool ta,
                       const Tensor& b, bool tb, const Shape& shape) {
  if (!use.wanted) return Tensor();
  if (!use.sum.defined()) return Product(a, ta, b, tb, shape);
  Tensor sum = use.sum;
  kernels::matmul(a, ta, b, tb, true, &sum);
  return Tensor();
}

// All but the last dimension as rows.
Tensor AsRows(const Tensor& x) {
  return x.Reshape({x.shape().NumelBefore(-1), x.dim(-1)});
}

void CheckMatmul(const Tensor& a, const Tensor& b, bool transpose_b) {
  const bool ranks = a.shape().rank() >= 2 && b.shape().rank() >= 2;
  NW_CHECK(ranks && a.dtype() == b.dtype() &&
           a.dim(-1) == b.dim(transpose_b ? -1 : -2))
      << "matmul of " << a << " and " << b
      << (transpose_b ? " transposed" : "");
  if (b.shape().rank() == 2) return;
  bool equal = a.shape().rank() == b.shape().rank();
  for (int i = 0; equal && i < a.shape().rank() - 2; ++i) {
    equal = a.dim(i) == b.dim(i);
  }
  NW_CHECK(equal) << "matmul: leading dimensions of " << a << " and " << b;
}

}  // namespace

Variable Matmul(const Variable& a, const Variable& b, bool transpose_b) {
  CheckMatmul(a.value(), b.value(), transpose_b);
  const Shape shape = a.shape().With(-1, b.dim(transpose_b ? -2 : -1));
  Tensor y = Product(a.value(), false, b.value(), transpose_b, shape);
  return Record("matmul", y, {a, b},
                [a = a.value(), b = b.value(), transpose_b](
                    const Tensor& dy, const Vjp::Uses& uses) {
                  const Tensor da = GradientProduct(uses[0], dy, false, b,
                                                    !transpose_b, a.shape());
                  // A b that served all leading dimensions sums over them: one
                  // product of all rows.
                  const bool shared = b.shape().rank() == 2;
                  const Tensor rows_a = shared ? AsRows(a) : a;
                  const Tensor rows_dy = shared ? AsRows(dy) : dy;
                  const Tensor db =
                      transpose_b ? GradientProduct(uses[1], rows_dy, true,
                                                    rows_a, false, b.shape())
                                  : GradientProduct(uses[1], rows_a, true,
                                                    rows_dy, false, b.shape());
                  return Gradients{da, db};
                });
}

Variable Linear(const Variable& x, const Variable& weight, const Variable& bias,
                const Variable& residual, std::optional<DType> dtype) {
  NW_CHECK(weight.shape().rank() == 2 && x.shape().rank() >= 1 &&
           x.dim(-1) == weight.dim(1) && x.dtype() == weight.dtype())
      << "linear of " << x.value() << " with weight " << weight.value();
  NW_CHECK(!bias.defined() || bias.shape() == Shape({weight.dim(0)}))
      << "linear with weight " << weight.value() << " and bias "
      << bias.value();
  const Shape shape = x.shape().With(-1, weight.dim(0));
  NW_CHECK(!residual.defined() || residual.shape() == shape)
      << "linear of " << x.value() << " with weight " << weight.value()
      << " and residual " << residual.value();
  const Tensor rows = AsRows(x.value());
  Tensor y =
      Empty({rows.dim(0), weight.dim(0)},
            dtype.value_or(residual.defined() ? residual.dtype() : x.dtype()),
            x.value().device());
  std::vector<Variable> inputs = {x, weight};
  if (bias.defined()) inputs.push_back(bias);
  if (residual.defined()) inputs.push_back(residual);
  const Variable result = Record(
      "linear", y.Reshape(shape), inputs,
      [rows, shape = x.shape(), w = weight.value(),
       bias_dtype = bias.defined() ? std::optional(bias.dtype()) : std::nullopt,
       has_residual = residual.defined()](const Tensor& dy,
                                          const Vjp::Uses& uses) {
        const Tensor dy_rows = Cast(AsRows(dy), rows.dtype());
        Tensor dx =
            GradientProduct(uses[0], dy_rows, false, w, false, rows.shape());
        if (dx.defined()) dx = dx.Reshape(shape);
        Gradients gradients = {dx, GradientProduct(uses[1], dy_rows, true, rows,
                                                   false, w.shape())};
        if (bias_dtype.has_value()) {
          Tensor db = Empty({w.dim(0)}, *bias_dtype, dy.device());
          kernels::sum_to(AsRows(dy), &db);
          gradients.push_back(db);
        }
        if (has_residual) gradients.push_back(dy);
        return gradients;
      });
  ComputeWhenRead(result, [=]() mutable {
    kernels::linear(
        rows, weight.value(), bias.defined() ? bias.value() : Tensor(),
        residual.defined() ? AsRows(residual.value()) : Tensor(), &y);
  });
  return result;
}

}  // namespace nextword

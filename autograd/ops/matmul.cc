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

void CheckLinear(const Variable& x, const Variable& weight,
                 const Variable& bias, const Variable& residual) {
  NW_CHECK(weight.shape().rank() == 2 && x.shape().rank() >= 1 &&
           x.dim(-1) == weight.dim(1) && x.dtype() == weight.dtype())
      << "linear of " << x.value() << " with weight " << weight.value();
  NW_CHECK(!bias.defined() || bias.shape() == Shape({weight.dim(0)}))
      << "linear with weight " << weight.value() << " and bias "
      << bias.value();
  NW_CHECK(!residual.defined() ||
           residual.shape() == x.shape().With(-1, weight.dim(0)))
      << "linear of " << x.value() << " with weight " << weight.value()
      << " and residual " << residual.value();
}

Tensor ValueOrNone(const Variable& x) {
  return x.defined() ? x.value() : Tensor();
}

// A bias, to whoever gives it a gradient.
std::optional<DType> DTypeOfBias(const Variable& bias) {
  return bias.defined() ? std::optional(bias.dtype()) : std::nullopt;
}

// Appends the gradients of a linear's weight, of `shape`, and bias, whose uses
// begin at `use`. dy and x are rows.
void AppendParameterGradients(const Tensor& dy, const Tensor& x,
                              const Shape& shape, std::optional<DType> bias,
                              const GradientUse* use, Gradients* gradients) {
  Tensor db;
  if (bias.has_value()) db = Empty({shape[0]}, *bias, dy.device());
  if (use->wanted) {
    Tensor dw =
        use->sum.defined() ? use->sum : Empty(shape, x.dtype(), x.device());
    kernels::linear_grad(dy, x, use->sum.defined(), &dw, &db);
    gradients->push_back(use->sum.defined() ? Tensor() : dw);
  } else {
    if (db.defined()) kernels::sum_to(dy, &db);
    gradients->push_back(Tensor());
  }
  if (db.defined()) gradients->push_back(db);
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
  CheckLinear(x, weight, bias, residual);
  const Shape shape = x.shape().With(-1, weight.dim(0));
  const Tensor rows = AsRows(x.value());
  Tensor y =
      Empty({rows.dim(0), weight.dim(0)},
            dtype.value_or(residual.defined() ? residual.dtype() : x.dtype()),
            x.value().device());
  std::vector<Variable> inputs = {x, weight};
  if (bias.defined()) inputs.push_back(bias);
  if (residual.defined()) inputs.push_back(residual);
  const Variable result =
      Record("linear", y.Reshape(shape), inputs,
             [rows, shape = x.shape(), w = weight.value(),
              bias = DTypeOfBias(bias), has_residual = residual.defined()](
                 const Tensor& dy, const Vjp::Uses& uses) {
               const Tensor dy_rows = Cast(AsRows(dy), rows.dtype());
               Tensor dx = GradientProduct(uses[0], dy_rows, false, w, false,
                                           rows.shape());
               if (dx.defined()) dx = dx.Reshape(shape);
               Gradients gradients = {dx};
               AppendParameterGradients(dy_rows, rows, w.shape(), bias,
                                        &uses[1], &gradients);
               if (has_residual) gradients.push_back(dy);
               return gradients;
             });
  ComputeWhenRead(result, [=]() mutable {
    kernels::linear(rows, weight.value(), ValueOrNone(bias),
                    residual.defined() ? AsRows(residual.value()) : Tensor(),
                    &y);
  });
  return result;
}

Variable GeluTanhFeedForward(const Variable& x, const Variable& up,
                             const Variable& up_bias, const Variable& down,
                             const Variable& down_bias,
                             const Variable& residual) {
  CheckLinear(x, up, up_bias, Variable());
  const Tensor rows = AsRows(x.value());
  Tensor pre = Empty({rows.dim(0), up.dim(0)}, x.dtype(), x.device());
  Tensor post = EmptyLike(pre);
  kernels::linear_gelu_tanh(rows, up.value(), ValueOrNone(up_bias), &pre,
                            &post);
  CheckLinear(Variable(post.Reshape(x.shape().With(-1, up.dim(0)))), down,
              down_bias, residual);
  const Shape shape = x.shape().With(-1, down.dim(0));
  Tensor y =
      Empty({rows.dim(0), down.dim(0)},
            residual.defined() ? residual.dtype() : x.dtype(), x.device());
  std::vector<Variable> inputs = {x, up};
  if (up_bias.defined()) inputs.push_back(up_bias);
  const size_t down_at = inputs.size();
  inputs.push_back(down);
  if (down_bias.defined()) inputs.push_back(down_bias);
  if (residual.defined()) inputs.push_back(residual);
  const Variable result = Record(
      "gelu_tanh_feed_forward", y.Reshape(shape), inputs,
      [rows, pre, post, shape = x.shape(), up = up.value(), down = down.value(),
       up_bias = DTypeOfBias(up_bias), down_bias = DTypeOfBias(down_bias),
       down_at, has_residual = residual.defined()](const Tensor& dy,
                                                   const Vjp::Uses& uses) {
        const Tensor dy_rows = Cast(AsRows(dy), rows.dtype());
        Tensor dpre = EmptyLike(pre);
        kernels::linear_gelu_tanh_grad(dy_rows, down, pre, &dpre);
        Gradients of_down;
        AppendParameterGradients(dy_rows, post, down.shape(), down_bias,
                                 &uses[down_at], &of_down);
        Tensor dx =
            GradientProduct(uses[0], dpre, false, up, false, rows.shape());
        if (dx.defined()) dx = dx.Reshape(shape);
        Gradients gradients = {dx};
        AppendParameterGradients(dpre, rows, up.shape(), up_bias, &uses[1],
                                 &gradients);
        for (Tensor& gradient : of_down) gradients.push_back(gradient);
        if (has_residual) gradients.push_back(dy);
        return gradients;
      });
  ComputeWhenRead(result, [=]() mutable {
    kernels::linear(post, down.value(), ValueOrNone(down_bias),
                    residual.defined() ? AsRows(residual.value()) : Tensor(),
                    &y);
  });
  return result;
}

}  // namespace nextword

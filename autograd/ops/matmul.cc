#include "autograd/ops/matmul.h"

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/linear_inputs.h"

namespace nextword {
namespace {

// op(a) op(b) as a new tensor of `shape`.
Tensor Product(const Tensor& a, bool ta, const Tensor& b, bool tb,
               const Shape& shape) {
  Tensor y = Empty(shape, a.dtype(), a.device());
  kernels::matmul(a, ta, b, tb, false, &y);
  return y;
}

// op(a) op(b) as the gradient of an input, whose elements are seen as `shape`.
Tensor GradientProduct(const GradientUse& use, const Tensor& a, bool ta,
                       const Tensor& b, bool tb, const Shape& shape) {
  if (!use.wanted) return Tensor();
  if (!use.sum.defined()) return Product(a, ta, b, tb, shape);
  Tensor sum = use.sum.Reshape(shape);
  kernels::matmul(a, ta, b, tb, true, &sum);
  return Tensor();
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
  const LinearInputs in(x, weight, bias, residual);
  Tensor y = in.EmptyRows(dtype);
  NW_CHECK(!residual.defined() || residual.dtype() == y.dtype())
      << "linear into " << y << " with residual " << residual.value();
  const Variable result =
      Record("linear", y.Reshape(in.shape()), in.All(),
             [rows = in.x(), shape = in.x_shape(), w = in.weight(),
              bias = in.bias_dtype(), has_residual = in.has_residual()](
                 const Tensor& dy, const Vjp::Uses& uses) {
               const Tensor dy_rows = GradientRows(dy, uses, rows.dtype());
               Tensor dx = GradientProduct(uses[0], dy_rows, false, w, false,
                                           rows.shape());
               if (dx.defined()) dx = dx.Reshape(shape);
               Gradients gradients = {dx};
               AppendParameterGradients(dy_rows, rows, w.shape(), bias,
                                        &uses[1], &gradients);
               if (has_residual) gradients.push_back(dy);
               return gradients;
             });
  if (x.dtype() == DType::kBF16) ReadsRoundedGradient(result);
  ComputeWhenRead(result, [in, y]() mutable {
    kernels::linear(in.x(), in.weight(), in.bias(), in.residual(), &y);
  });
  return result;
}

Variable GeluTanhFeedForward(const Variable& x, const Variable& up,
                             const Variable& up_bias, const Variable& down,
                             const Variable& down_bias,
                             const Variable& residual) {
  const LinearInputs in(x, up, up_bias, Variable());
  Tensor pre = in.EmptyRows();
  Tensor post = EmptyLike(pre);
  kernels::linear_gelu_tanh(in.x(), in.weight(), in.bias(), &pre, &post);
  const LinearInputs in_down(Variable(post.Reshape(in.shape())), down,
                             down_bias, residual);
  Tensor y = in_down.EmptyRows();
  const Variable result = Record(
      "gelu_tanh_feed_forward", y.Reshape(in_down.shape()), in.AllWith(in_down),
      [rows = in.x(), pre, post, shape = in.x_shape(), up = in.weight(),
       down = in_down.weight(), up_bias = in.bias_dtype(),
       down_bias = in_down.bias_dtype(), down_at = in.All().size(),
       has_residual = in_down.has_residual()](const Tensor& dy,
                                              const Vjp::Uses& uses) {
        const Tensor dy_rows = GradientRows(dy, uses, rows.dtype());
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
  if (x.dtype() == DType::kBF16) ReadsRoundedGradient(result);
  ComputeWhenRead(result, [in_down, y]() mutable {
    kernels::linear(in_down.x(), in_down.weight(), in_down.bias(),
                    in_down.residual(), &y);
  });
  return result;
}

}  // namespace nextword

#include "autograd/ops/quantized_linear.h"

#include "autograd/kernels/kernels.h"
#include "autograd/ops/linear_inputs.h"

namespace nextword {
namespace {

struct Quantized {
  Tensor values, transposed, scale;

  // `transpose` for a product of the backward pass.
  static Quantized Of(const Tensor& x, DType dtype, bool transpose) {
    const Device device = x.device();
    Quantized q{Empty(x.shape(), dtype, device), Tensor(),
                Empty({1}, DType::kF32, device)};
    if (transpose) q.transposed = Empty({x.dim(1), x.dim(0)}, dtype, device);
    kernels::quantize(x, &q.scale, &q.values, &q.transposed);
    return q;
  }

  // The transpose, which takes the place of the matrix.
  Quantized Transposed() const { return {transposed, Tensor(), scale}; }
};

// y = a b' + bias + addend.
void Multiply(const Quantized& a, const Quantized& b, const Tensor& bias,
              const Tensor& addend, Tensor* y) {
  kernels::matmul_quantized(a.values, a.scale, b.values, b.scale, bias, addend,
                            y);
}

// The gradient of an input of `shape`, a b', as its use wants it.
Tensor GradientOf(const GradientUse& use, const Quantized& a,
                  const Quantized& b, const Shape& shape, DType dtype) {
  if (!use.wanted) return Tensor();
  Tensor sum = use.sum;
  if (sum.defined()) {
    Multiply(a, b, Tensor(), sum, &sum);
    return Tensor();
  }
  Tensor gradient =
      Empty({shape.NumelBefore(-1), shape[-1]}, dtype, a.values.device());
  Multiply(a, b, Tensor(), Tensor(), &gradient);
  return gradient.Reshape(shape);
}

}  // namespace

Variable QuantizedLinear(const Variable& x, const Variable& weight,
                         const Variable& bias, const Variable& residual,
                         DType gradient) {
  const LinearInputs in(x, weight, bias, residual);
  Tensor y = in.EmptyRows();
  const bool backward = GradEnabled();
  const Quantized rows = Quantized::Of(in.x(), DType::kE4M3, backward);
  const Quantized w = Quantized::Of(in.weight(), DType::kE4M3, backward);
  const Variable result =
      Record("quantized_linear", y.Reshape(in.shape()), in.All(),
             [x = rows.Transposed(), w = w.Transposed(), x_shape = in.x_shape(),
              w_shape = in.weight_shape(), dtype = x.dtype(), gradient,
              bias = in.bias_dtype(), has_residual = in.has_residual()](
                 const Tensor& dy, const Vjp::Uses& uses) {
               const Tensor dy_rows = AsRows(dy);
               const Quantized d = Quantized::Of(dy_rows, gradient, true);
               Gradients gradients = {
                   GradientOf(uses[0], d, w, x_shape, dtype),
                   GradientOf(uses[1], d.Transposed(), x, w_shape, dtype)};
               if (bias.has_value()) {
                 Tensor db = Empty({w_shape[0]}, *bias, dy.device());
                 kernels::sum_to(dy_rows, &db);
                 gradients.push_back(db);
               }
               if (has_residual) gradients.push_back(dy);
               return gradients;
             });
  ComputeWhenRead(result, [in, rows, w, y]() mutable {
    Multiply(rows, w, in.bias(), in.residual(), &y);
  });
  return result;
}

}  // namespace nextword

#include "autograd/ops/quantized_linear.h"

#include <optional>

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/linear_inputs.h"

namespace nextword {
namespace {

// Without values yet; `transpose` for a product of the backward pass.
Float8Matrix RoomFor(const Tensor& x, DType dtype, const Tensor& scale,
                     bool transpose) {
  Float8Matrix m{Empty(x.shape(), dtype, x.device()), Tensor(), scale};
  if (transpose) m.transposed = Empty({x.dim(1), x.dim(0)}, dtype, x.device());
  return m;
}

// Also assigns the sum of x's rows to `sum`, if that is defined.
Float8Matrix Round(const Tensor& x, DType dtype, const FactorScale& by,
                   bool transpose, Tensor sum = Tensor()) {
  Tensor scale = by.scale, largest = by.largest;
  if (!scale.defined()) {
    scale = Empty({1}, DType::kF32, x.device());
    kernels::quantization_scale(x, dtype, &scale);
  }
  Float8Matrix m = RoomFor(x, dtype, scale, transpose);
  kernels::quantize(x, m.scale, &m.values, &m.transposed, &largest, &sum);
  return m;
}

Float8Matrix RoundGeluTanh(const Tensor& pre, const FactorScale& by,
                           bool transpose) {
  if (!by.scale.defined()) {
    Tensor post = EmptyLike(pre);
    kernels::gelu_tanh(pre, &post);
    return Round(post, DType::kE4M3, by, transpose);
  }
  Float8Matrix m = RoomFor(pre, DType::kE4M3, by.scale, transpose);
  Tensor largest = by.largest;
  kernels::quantize_gelu_tanh(pre, m.scale, &m.values, &m.transposed, &largest);
  return m;
}

Float8Matrix RoundGeluTanhGrad(const Tensor& pre, const Tensor& dpost,
                               DType dtype, const FactorScale& by, Tensor sum) {
  if (!by.scale.defined()) {
    Tensor dpre = EmptyLike(pre);
    kernels::gelu_tanh_grad(pre, dpost, &dpre);
    return Round(dpre, dtype, by, true, sum);
  }
  Float8Matrix m = RoomFor(pre, dtype, by.scale, true);
  Tensor largest = by.largest;
  kernels::quantize_gelu_tanh_grad(pre, dpost, m.scale, &m.values,
                                   &m.transposed, &largest, &sum);
  return m;
}

Float8Matrix RoundWeight(const LinearInputs& in, const LinearScales& scales) {
  const Float8Matrix& rounded = scales.rounded_weight;
  if (rounded.defined()) {
    NW_CHECK(rounded.values.shape() == in.weight_shape() &&
             rounded.transposed.defined() && rounded.scale.defined())
        << "weight " << in.weight() << " rounded as " << rounded.values;
    return rounded;
  }
  return Round(in.weight(), DType::kE4M3, scales.weight, GradEnabled());
}

// The transpose, which takes the place of the matrix.
Float8Matrix Transposed(const Float8Matrix& m) {
  return {m.transposed, Tensor(), m.scale};
}

// y = a b' + bias + addend.
void Multiply(const Float8Matrix& a, const Float8Matrix& b, const Tensor& bias,
              const Tensor& addend, Tensor* y) {
  kernels::matmul_quantized(a.values, a.scale, b.values, b.scale, bias, addend,
                            y);
}

// The gradient of an input of `shape`, a b', as its use wants it.
Tensor GradientOf(const GradientUse& use, const Float8Matrix& a,
                  const Float8Matrix& b, const Shape& shape, DType dtype) {
  if (!use.wanted) return Tensor();
  const Shape rows = {shape.NumelBefore(-1), shape[-1]};
  if (use.sum.defined()) {
    Tensor sum = use.sum.Reshape(rows);
    Multiply(a, b, Tensor(), sum, &sum);
    return Tensor();
  }
  Tensor gradient = Empty(rows, dtype, a.values.device());
  Multiply(a, b, Tensor(), Tensor(), &gradient);
  return gradient.Reshape(shape);
}

// What a layer keeps for its backward pass.
struct Kept {
  Kept(const LinearInputs& in, const Float8Matrix& rows,
       const Float8Matrix& weight, const LinearScales& scales)
      : x(Transposed(rows)),
        w(Transposed(weight)),
        gradient(scales.gradient),
        gradient_dtype(scales.gradient_dtype),
        w_shape(in.weight_shape()),
        bias(in.bias_dtype()) {}

  // Where a gradient's sum over rows goes, if the layer has a bias.
  Tensor EmptyBiasGradient(Device device) const {
    return bias.has_value() ? Empty({w_shape[0]}, DType::kF32, device)
                            : Tensor();
  }

  // Appends the gradients of weight, whose use that is, and bias.
  void AppendGradients(const GradientUse& use, const Float8Matrix& dy,
                       const Tensor& db, DType dtype,
                       Gradients* gradients) const {
    gradients->push_back(GradientOf(use, Transposed(dy), x, w_shape, dtype));
    if (db.defined()) gradients->push_back(Cast(db, *bias));
  }

  Float8Matrix x, w;
  FactorScale gradient;
  DType gradient_dtype;
  Shape w_shape;
  std::optional<DType> bias;
};

}  // namespace

Variable QuantizedLinear(const Variable& x, const Variable& weight,
                         const Variable& bias, const Variable& residual,
                         const LinearScales& scales) {
  const LinearInputs in(x, weight, bias, residual);
  Tensor y = in.EmptyRows();
  const bool backward = GradEnabled();
  const Float8Matrix rows = Round(in.x(), DType::kE4M3, scales.x, backward);
  const Float8Matrix w = RoundWeight(in, scales);
  const Variable result = Record(
      "quantized_linear", y.Reshape(in.shape()), in.All(),
      [kept = Kept(in, rows, w, scales), x_shape = in.x_shape(),
       dtype = x.dtype(), has_residual = in.has_residual()](
          const Tensor& dy, const Vjp::Uses& uses) {
        const Tensor db = kept.EmptyBiasGradient(dy.device());
        const Float8Matrix d =
            Round(AsRows(dy), kept.gradient_dtype, kept.gradient, true, db);
        Gradients gradients = {GradientOf(uses[0], d, kept.w, x_shape, dtype)};
        kept.AppendGradients(uses[1], d, db, dtype, &gradients);
        if (has_residual) gradients.push_back(dy);
        return gradients;
      });
  ComputeWhenRead(result, [in, rows, w, y]() mutable {
    Multiply(rows, w, in.bias(), in.residual(), &y);
  });
  return result;
}

Variable QuantizedGeluTanhFeedForward(
    const Variable& x, const Variable& up, const Variable& up_bias,
    const Variable& down, const Variable& down_bias, const Variable& residual,
    const LinearScales& up_scales, const LinearScales& down_scales) {
  const LinearInputs in(x, up, up_bias, Variable());
  Tensor pre = in.EmptyRows();
  const bool backward = GradEnabled();
  const Float8Matrix rows = Round(in.x(), DType::kE4M3, up_scales.x, backward);
  const Float8Matrix w_up = RoundWeight(in, up_scales);
  Multiply(rows, w_up, in.bias(), Tensor(), &pre);
  // Of the layer's shape and dtype; its values are only there in eight bits.
  const LinearInputs in_down(Variable(pre.Reshape(in.shape())), down, down_bias,
                             residual);
  const Float8Matrix post = RoundGeluTanh(pre, down_scales.x, backward);
  const Float8Matrix w_down = RoundWeight(in_down, down_scales);
  Tensor y = in_down.EmptyRows();
  const Variable result = Record(
      "quantized_gelu_tanh_feed_forward", y.Reshape(in_down.shape()),
      in.AllWith(in_down),
      [kept_up = Kept(in, rows, w_up, up_scales),
       kept_down = Kept(in_down, post, w_down, down_scales), pre,
       x_shape = in.x_shape(), dtype = x.dtype(), down_at = in.All().size(),
       has_residual = in_down.has_residual()](const Tensor& dy,
                                              const Vjp::Uses& uses) {
        const Tensor db_down = kept_down.EmptyBiasGradient(dy.device());
        const Float8Matrix d_down = Round(AsRows(dy), kept_down.gradient_dtype,
                                          kept_down.gradient, true, db_down);
        const Tensor dpost =
            GradientOf(GradientUse(), d_down, kept_down.w, pre.shape(), dtype);
        Gradients of_down;
        kept_down.AppendGradients(uses[down_at], d_down, db_down, dtype,
                                  &of_down);
        const Tensor db_up = kept_up.EmptyBiasGradient(dy.device());
        const Float8Matrix d_up = RoundGeluTanhGrad(
            pre, dpost, kept_up.gradient_dtype, kept_up.gradient, db_up);
        Gradients gradients = {
            GradientOf(uses[0], d_up, kept_up.w, x_shape, dtype)};
        kept_up.AppendGradients(uses[1], d_up, db_up, dtype, &gradients);
        for (Tensor& gradient : of_down) gradients.push_back(gradient);
        if (has_residual) gradients.push_back(dy);
        return gradients;
      });
  ComputeWhenRead(result, [in_down, post, w_down, y]() mutable {
    Multiply(post, w_down, in_down.bias(), in_down.residual(), &y);
  });
  return result;
}

}  // namespace nextword

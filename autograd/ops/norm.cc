#include "autograd/ops/norm.h"

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"

namespace nextword {
namespace {

// `name` is what `parameter` is: the weight or the bias.
void CheckParameter(const char* op, const Variable& x, const char* name,
                    const Variable& parameter) {
  NW_CHECK(x.shape().rank() >= 1 && parameter.shape() == Shape({x.dim(-1)}))
      << op << " of " << x.value() << " with " << name << " "
      << parameter.value();
}

// A place for one statistic per row.
Tensor RowStatistic(const Tensor& x) {
  return Empty({x.shape().NumelBefore(-1)}, SumDType(x.dtype()), x.device());
}

Tensor Result(const Tensor& x, std::optional<DType> dtype) {
  return Empty(x.shape(), dtype.value_or(x.dtype()), x.device());
}

// Where the gradients of a norm go: that of x to what the residual stream,
// which passes by the norm, has brought already, or to a new tensor.
struct NormGradients {
  NormGradients(const Tensor& x, const Tensor& weight, bool has_bias,
                const GradientUse& use)
      : adds(use.partial.defined()),
        dx(adds ? use.partial : EmptyLike(x)),
        parameters(Empty({has_bias ? 2 : 1, weight.numel()}, weight.dtype(),
                         weight.device())) {
    if (use.rounded == nullptr || x.dtype() != DType::kF32) return;
    rounded = *use.rounded = Empty(x.shape(), DType::kBF16, x.device());
  }

  // Of x, weight and, if there is one, bias.
  Gradients ToReturn() const {
    Gradients gradients = {adds ? Tensor() : dx};
    const int64_t size = parameters.dim(1);
    for (int64_t i = 0; i < parameters.dim(0); ++i) {
      gradients.push_back(parameters.View(i * size, {size}));
    }
    return gradients;
  }

  const bool adds;
  Tensor dx, rounded, parameters;
};

}  // namespace

Variable LayerNorm(const Variable& x, const Variable& weight,
                   const Variable& bias, double epsilon,
                   std::optional<DType> dtype) {
  CheckParameter("layer_norm", x, "weight", weight);
  if (bias.defined()) CheckParameter("layer_norm", x, "bias", bias);
  Tensor y = Result(x.value(), dtype);
  Tensor mean = RowStatistic(x.value()), rstd = RowStatistic(x.value());
  kernels::layer_norm(x.value(), weight.value(),
                      bias.defined() ? bias.value() : Tensor(), epsilon, &y,
                      &mean, &rstd);
  std::vector<Variable> inputs = {x, weight};
  if (bias.defined()) inputs.push_back(bias);
  return Record(
      "layer_norm", y, inputs,
      [x = x.value(), w = weight.value(), mean, rstd,
       has_bias = bias.defined()](const Tensor& dy, const Vjp::Uses& uses) {
        NormGradients to(x, w, has_bias, uses[0]);
        kernels::layer_norm_grad(x, w, mean, rstd, dy, to.adds, &to.dx,
                                 &to.rounded, &to.parameters);
        return to.ToReturn();
      });
}

Variable RmsNorm(const Variable& x, const Variable& weight, double epsilon,
                 std::optional<DType> dtype) {
  CheckParameter("rms_norm", x, "weight", weight);
  Tensor y = Result(x.value(), dtype);
  Tensor rstd = RowStatistic(x.value());
  kernels::rms_norm(x.value(), weight.value(), epsilon, &y, &rstd);
  return Record("rms_norm", y, {x, weight},
                [x = x.value(), w = weight.value(), rstd](
                    const Tensor& dy, const Vjp::Uses& uses) {
                  NormGradients to(x, w, /*has_bias=*/false, uses[0]);
                  kernels::rms_norm_grad(x, w, rstd, dy, to.adds, &to.dx,
                                         &to.rounded, &to.parameters);
                  return to.ToReturn();
                });
}

Variable Softmax(const Variable& x) {
  Tensor y = EmptyLike(x.value());
  kernels::softmax(x.value(), &y);
  return Record("softmax", y, {x}, [y](const Tensor& dy) {
    Tensor dx = EmptyLike(y);
    kernels::softmax_grad(y, dy, &dx);
    return Gradients{dx};
  });
}

}  // namespace nextword

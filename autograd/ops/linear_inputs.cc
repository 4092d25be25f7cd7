#include "autograd/ops/linear_inputs.h"

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"

namespace nextword {

Tensor AsRows(const Tensor& x) {
  return x.Reshape({x.shape().NumelBefore(-1), x.dim(-1)});
}

Tensor GradientRows(const Tensor& dy, const Vjp::Uses& uses, DType dtype) {
  const bool has = dtype == DType::kBF16 && uses.rounded_dy.defined();
  return has ? AsRows(uses.rounded_dy) : Cast(AsRows(dy), dtype);
}

LinearInputs::LinearInputs(const Variable& x, const Variable& weight,
                           const Variable& bias, const Variable& residual)
    : x_(x), weight_(weight), bias_(bias), residual_(residual) {
  NW_CHECK(weight.shape().rank() == 2 && x.shape().rank() >= 1 &&
           x.dim(-1) == weight.dim(1) && x.dtype() == weight.dtype())
      << "linear of " << x.value() << " with weight " << weight.value();
  NW_CHECK(!bias.defined() || bias.shape() == Shape({weight.dim(0)}))
      << "linear with weight " << weight.value() << " and bias "
      << bias.value();
  NW_CHECK(!residual.defined() || residual.shape() == shape())
      << "linear of " << x.value() << " with weight " << weight.value()
      << " and residual " << residual.value();
}

Tensor LinearInputs::bias() const {
  return bias_.defined() ? bias_.value() : Tensor();
}

Tensor LinearInputs::residual() const {
  return residual_.defined() ? AsRows(residual_.value()) : Tensor();
}

std::optional<DType> LinearInputs::bias_dtype() const {
  return bias_.defined() ? std::optional(bias_.dtype()) : std::nullopt;
}

Tensor LinearInputs::EmptyRows(std::optional<DType> dtype) const {
  const DType usual = residual_.defined() ? residual_.dtype() : x_.dtype();
  return Empty({x_.shape().NumelBefore(-1), weight_.dim(0)},
               dtype.value_or(usual), x_.device());
}

std::vector<Variable> LinearInputs::All() const {
  std::vector<Variable> all = {x_, weight_};
  if (bias_.defined()) all.push_back(bias_);
  if (residual_.defined()) all.push_back(residual_);
  return all;
}

std::vector<Variable> LinearInputs::AllWith(const LinearInputs& then) const {
  std::vector<Variable> all = All();
  const std::vector<Variable> more = then.All();
  all.insert(all.end(), more.begin() + 1, more.end());
  return all;
}

}  // namespace nextword

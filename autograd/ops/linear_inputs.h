// What the ops around x weight' + bias + residual have in common. Of ops alone.
#ifndef NEXTWORD_AUTOGRAD_OPS_LINEAR_INPUTS_H_
#define NEXTWORD_AUTOGRAD_OPS_LINEAR_INPUTS_H_

#include <optional>
#include <vector>

#include "autograd/variable.h"

namespace nextword {

// All but the last dimension as rows.
Tensor AsRows(const Tensor& x);

// The gradient of a result, as rows of the dtype of what was multiplied.
Tensor GradientRows(const Tensor& dy, const Vjp::Uses& uses, DType dtype);

// Inputs that fit each other, or a CHECK failure: x [.., in], weight [out, in]
// of x's dtype and, optional, bias [out] and residual [.., out].
class LinearInputs {
 public:
  LinearInputs(const Variable& x, const Variable& weight, const Variable& bias,
               const Variable& residual);

  // x and residual as rows; undefined where there is none.
  Tensor x() const { return AsRows(x_.value()); }
  Tensor weight() const { return weight_.value(); }
  Tensor bias() const;
  Tensor residual() const;

  Shape x_shape() const { return x_.shape(); }
  Shape weight_shape() const { return weight_.shape(); }
  // Of the result, [.., out].
  Shape shape() const { return x_.shape().With(-1, weight_.dim(0)); }
  std::optional<DType> bias_dtype() const;
  bool has_residual() const { return residual_.defined(); }

  // A result without values yet, as rows; of residual's dtype or else x's,
  // unless another is asked for.
  Tensor EmptyRows(std::optional<DType> dtype = std::nullopt) const;

  // Those that are defined, in the order above.
  std::vector<Variable> All() const;

  // Those of an op that is this layer and then another, whose x is made on the
  // way: All() and what `then` has besides.
  std::vector<Variable> AllWith(const LinearInputs& then) const;

 private:
  Variable x_, weight_, bias_, residual_;
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_LINEAR_INPUTS_H_

#include "autograd/ops/recompute.h"

#include <utility>

#include "autograd/engine.h"

namespace nextword {

Variable Recompute(std::function<Variable(const Variable&)> function,
                   const Variable& input) {
  if (!GradEnabled()) return function(input);
  Tensor y;
  {
    const NoGradScope no_grad;
    y = function(input).value();
  }
  // The leaves inside may need gradients even when the input does not.
  const Variable source =
      input.requires_grad() ? input : Variable(input.value(), true);
  return Record(
      "recompute", y, {source},
      [function = std::move(function), x = input.value()](const Tensor& dy) {
        const GradModeScope grad(true);
        const Variable input(x, true);
        Backward(function(input), dy);
        return Gradients{input.gradient()};
      });
}

}  // namespace nextword

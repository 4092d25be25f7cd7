#include "autograd/ops/recompute.h"

#include <utility>
#include <vector>

#include "autograd/engine.h"

namespace nextword {
namespace {

Variable Replay(const std::function<Variable(const Variable&)>& function,
                const Variable& input) {
  const ReplayScope replay;
  return function(input);
}

}  // namespace

Variable Recompute(std::function<Variable(const Variable&)> function,
                   const Variable& input) {
  if (!GradEnabled()) return function(input);
  std::vector<Variable> uses;
  Variable y;
  {
    const NoGradScope no_grad;
    const UsesScope scope(&uses);
    y = function(input);
  }
  if (y.requires_grad()) return y;  // It computes nothing.
  // The vjp holds Variables, against the rule: they are inputs, so there is no
  // cycle, and the function holds most of them anyway.
  return Record("recompute", y.value(), uses,
                [function = std::move(function), input, inputs = uses](
                    Tensor dy, const Vjp::Uses& gradient_uses) {
                  const GradModeScope grad(true);
                  const Variable again = Replay(function, input);
                  return Differentiate(again, std::move(dy), inputs,
                                       gradient_uses);
                });
}

}  // namespace nextword

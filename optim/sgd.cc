#include "optim/sgd.h"

#include "autograd/kernels/kernels.h"

namespace nextword {

Sgd::Sgd(const OptimizerConfig& config, Parameters* parameters,
         const Pieces& pieces)
    : config_(config),
      parameters_(parameters),
      ranges_(UpdateRanges(*parameters, pieces)),
      momentum_(ZerosPacked(*parameters, ranges_)) {}

void Sgd::Step(int64_t step, double learning_rate, double grad_scale) {
  for (const UpdateRange& range : ranges_) {
    Tensor values = range.Of(parameters_->values());
    Tensor momentum = range.OfPacked(momentum_);
    Tensor gradients = range.Of(parameters_->gradients());
    Tensor copies = range.CopiesOf(*parameters_);
    const kernels::Rounding rounding =
        parameters_->RoundingOf(step + 1, range.begin);
    Tensor nearest = rounding.stochastic ? Tensor() : copies;
    kernels::sgd(&values, &gradients, &momentum, &nearest, learning_rate,
                 config_.momentum(),
                 range.matrices ? config_.weight_decay() : 0, grad_scale);
    if (rounding.stochastic && copies.defined()) {
      kernels::round_to_bf16(values, rounding, &copies);
    }
  }
}

std::vector<NamedTensor> Sgd::State() const {
  std::vector<NamedTensor> state;
  AppendViews(*parameters_, "momentum", momentum_, &state);
  return state;
}

std::vector<Moment> Sgd::Moments() const {
  return {MomentOf("momentum", ranges_, momentum_)};
}

}  // namespace nextword

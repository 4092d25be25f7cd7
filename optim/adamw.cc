#include "optim/adamw.h"

#include "autograd/kernels/kernels.h"

namespace nextword {

AdamW::AdamW(const OptimizerConfig& config, Parameters* parameters,
             const Pieces& pieces)
    : config_(config),
      parameters_(parameters),
      ranges_(UpdateRanges(*parameters, pieces)),
      m_(ZerosPacked(*parameters, ranges_)),
      v_(ZerosPacked(*parameters, ranges_)) {}

void AdamWStep(const OptimizerConfig& config, const UpdateRange& range,
               int64_t step, double learning_rate, double grad_scale,
               Parameters* parameters, Tensor m, Tensor v) {
  Tensor values = range.Of(parameters->values());
  Tensor gradients = range.Of(parameters->gradients());
  Tensor copies = range.CopiesOf(*parameters);
  kernels::adamw(&values, &gradients, &m, &v, &copies,
                 {.learning_rate = learning_rate,
                  .beta1 = config.beta1(),
                  .beta2 = config.beta2(),
                  .epsilon = config.epsilon(),
                  .weight_decay = range.matrices ? config.weight_decay() : 0,
                  .grad_scale = grad_scale,
                  .step = step + 1,
                  .rounding = parameters->RoundingOf(step + 1, range.begin)});
}

void AdamW::Step(int64_t step, double learning_rate, double grad_scale) {
  for (const UpdateRange& range : ranges_) {
    AdamWStep(config_, range, step, learning_rate, grad_scale, parameters_,
              range.OfPacked(m_), range.OfPacked(v_));
  }
}

std::vector<NamedTensor> AdamW::State() const {
  std::vector<NamedTensor> state;
  AppendViews(*parameters_, "m", m_, &state);
  AppendViews(*parameters_, "v", v_, &state);
  return state;
}

std::vector<Moment> AdamW::Moments() const {
  return {MomentOf("m", ranges_, m_), MomentOf("v", ranges_, v_)};
}

}  // namespace nextword

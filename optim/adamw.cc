#include "optim/adamw.h"

#include "autograd/kernels/kernels.h"

namespace nextword {

AdamW::AdamW(const OptimizerConfig& config, Parameters* parameters)
    : config_(config),
      parameters_(parameters),
      ranges_(UpdateRanges(*parameters)),
      m_(ZerosLike(parameters->values())),
      v_(ZerosLike(parameters->values())) {}

void AdamW::Step(int64_t step, double learning_rate, double grad_scale) {
  kernels::AdamWParams params = {.learning_rate = learning_rate,
                                 .beta1 = config_.beta1(),
                                 .beta2 = config_.beta2(),
                                 .epsilon = config_.epsilon(),
                                 .weight_decay = 0,
                                 .grad_scale = grad_scale,
                                 .step = step + 1};
  for (const UpdateRange& range : ranges_) {
    params.weight_decay = range.matrices ? config_.weight_decay() : 0;
    Tensor values = range.Of(parameters_->values());
    Tensor m = range.Of(m_), v = range.Of(v_);
    Tensor gradients = range.Of(parameters_->gradients());
    Tensor copies = range.CopiesOf(*parameters_);
    kernels::adamw(&values, &gradients, &m, &v, &copies, params);
  }
}

std::vector<NamedTensor> AdamW::State() const {
  std::vector<NamedTensor> state;
  AppendViews(*parameters_, "m", m_, &state);
  AppendViews(*parameters_, "v", v_, &state);
  return state;
}

}  // namespace nextword

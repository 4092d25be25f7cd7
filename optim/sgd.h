// Stochastic gradient descent with momentum and decoupled weight decay.
#ifndef NEXTWORD_OPTIM_SGD_H_
#define NEXTWORD_OPTIM_SGD_H_

#include <cstdint>
#include <vector>

#include "optim/moment.h"
#include "optim/optimizer.h"

namespace nextword {

class Sgd : public Optimizer {
 public:
  Sgd(const OptimizerConfig& config, Parameters* parameters,
      const Pieces& pieces);

  void Step(int64_t step, double learning_rate, double grad_scale) override;
  std::vector<NamedTensor> State() const override;
  std::vector<Moment> Moments() const override;

 private:
  const OptimizerConfig config_;
  Parameters* const parameters_;
  const std::vector<UpdateRange> ranges_;
  Tensor momentum_;  // Flat.
};

}  // namespace nextword

#endif  // NEXTWORD_OPTIM_SGD_H_

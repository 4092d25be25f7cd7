// AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019).
#ifndef NEXTWORD_OPTIM_ADAMW_H_
#define NEXTWORD_OPTIM_ADAMW_H_

#include <cstdint>
#include <vector>

#include "optim/moment.h"
#include "optim/optimizer.h"

namespace nextword {

// One update of a range, whose moments are m and v.
void AdamWStep(const OptimizerConfig& config, const UpdateRange& range,
               int64_t step, double learning_rate, double grad_scale,
               Parameters* parameters, Tensor m, Tensor v);

class AdamW : public Optimizer {
 public:
  AdamW(const OptimizerConfig& config, Parameters* parameters,
        const Pieces& pieces);

  void Step(int64_t step, double learning_rate, double grad_scale) override;
  std::vector<NamedTensor> State() const override;
  std::vector<Moment> Moments() const override;

 private:
  const OptimizerConfig config_;
  Parameters* const parameters_;
  const std::vector<UpdateRange> ranges_;
  Tensor m_, v_;  // First and second moment of the ranges.
};

}  // namespace nextword

#endif  // NEXTWORD_OPTIM_ADAMW_H_

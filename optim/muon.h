// Muon: momentum whose matrices are made orthogonal (Jordan et al. 2024).
//
// For the matrices of the hidden layers, the blocks of a transformer; with the
// scale of Liu et al. 2025, "Muon is Scalable for LLM Training", its updates
// are as large as AdamW's, which takes all other parameters at the same
// learning rate and weight decay.
#ifndef NEXTWORD_OPTIM_MUON_H_
#define NEXTWORD_OPTIM_MUON_H_

#include <cstdint>
#include <vector>

#include "optim/moment.h"
#include "optim/optimizer.h"

namespace nextword {

// Approximately U V' of g = U S V', the orthogonal matrix next to it: five
// Newton-Schulz iterations of the quintic polynomial that Jordan et al. chose,
// which bring all singular values but the smallest between 0.7 and 1.2. g is
// [R, C]; inputs of products are rounded to `dtype`, g's own or bf16. 0 for a
// matrix of zeros.
Tensor Orthogonalize(const Tensor& g, DType dtype);

class Muon : public Optimizer {
 public:
  Muon(const OptimizerConfig& config, Parameters* parameters);

  void Step(int64_t step, double learning_rate, double grad_scale) override;
  std::vector<NamedTensor> State() const override;
  std::vector<Moment> Moments() const override { return {}; }

 private:
  void UpdateMatrix(const Parameters::Entry& entry, int64_t step,
                    double learning_rate, double grad_scale);

  const OptimizerConfig config_;
  Parameters* const parameters_;
  const std::vector<UpdateRange> ranges_;  // That AdamW updates.
  Tensor m_;  // Flat: the momentum of matrices, the first moment of others.
  Tensor v_;  // Of ranges_, one after the other.
};

}  // namespace nextword

#endif  // NEXTWORD_OPTIM_MUON_H_

// The learner: a model and all that turns batches into better weights.
//
// It owns model, weights, gradients and moments, and takes one optimizer step
// at a time. Its result is a function of config, state and batches: not of
// threads. Where batches come from, and what happens between steps, is the
// caller's business. Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LEARNER_H_
#define NEXTWORD_DISTRIBUTED_LEARNER_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "autograd/parameters.h"
#include "configs/train_config.pb.h"
#include "distributed/batch.h"
#include "distributed/compute_dtype.h"
#include "distributed/gradient_reducer.h"
#include "layers/model_cost.h"
#include "layers/transformer.h"
#include "optim/optimizer.h"

namespace nextword {

// Fills the rows of `batch` with the run's sequences from number `first` on.
using BatchReader = std::function<void(uint64_t first, Batch* batch)>;

class Learner {
 public:
  struct StepResult {
    double loss;  // Nats per token.
    double gradient_norm;
    double learning_rate;
  };

  // Allocates all of it; `model` is resolved. Moments are zeros, weights
  // undefined: Initialize them or read a checkpoint into them. Error: this
  // machine lacks the config's device, or its memory cannot hold it.
  static absl::StatusOr<std::unique_ptr<Learner>> Create(
      const TrainConfig& config, const ModelConfig& model);

  // What it takes, of `model`, resolved.
  static layers::TrainMemory EstimateMemory(const TrainConfig& config,
                                            const ModelConfig& model);

  // Random weights of the config's seed.
  void Initialize();

  // Goes on after `step` steps, with sequence `next_sequence`; the checkpoint's
  // weights and moments are in place.
  void ResumeAt(int64_t step, uint64_t next_sequence);

  // One step on the sequences that come next. Error: loss or gradients are not
  // finite; weights and moments are then as before. In a trace, the step and
  // its phases (data, forward, backward, reduce, update) are spans of category
  // "step".
  absl::StatusOr<StepResult> Step(const BatchReader& read);

  int64_t step() const { return step_; }  // Steps done.
  uint64_t next_sequence() const { return next_sequence_; }
  // Of the matrix products.
  DType compute_dtype() const { return ComputeDTypeOf(config_); }
  const layers::Transformer& model() const { return model_; }
  const Parameters& parameters() const { return *parameters_; }
  const Optimizer& optimizer() const { return *optimizer_; }

 private:
  Learner(const TrainConfig& config, const ModelConfig& model, Device device);

  LossSum SumGradients(const BatchReader& read);
  LossSum AddMicroBatch(int64_t first_in_step, const BatchReader& read);
  Batch ReadBatch(uint64_t first, const BatchReader& read) const;
  Variable Forward(const Batch& batch, int64_t first_in_step) const;
  absl::StatusOr<StepResult> Update(const LossSum& loss);

  const TrainConfig config_;
  layers::Transformer model_;
  std::unique_ptr<Parameters> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<GradientReducer> reducer_;

  int64_t step_ = 0;
  uint64_t next_sequence_ = 0;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LEARNER_H_

// The trainer: one run from its config to its last checkpoint.
//
// The result is a function of config, corpus and seed: not of threads, and not
// of interruptions. Everything that changes during a run is in a checkpoint:
// weights, moments, step and the position in the data; randomness is keyed by
// the step. Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_TRAINER_H_
#define NEXTWORD_DISTRIBUTED_TRAINER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "autograd/parameters.h"
#include "configs/train_config.pb.h"
#include "distributed/batch.h"
#include "distributed/checkpoint.h"
#include "distributed/corpus_data.h"
#include "distributed/evaluator.h"
#include "distributed/gradient_reducer.h"
#include "distributed/metrics.h"
#include "distributed/progress.h"
#include "distributed/run_lock.h"
#include "layers/transformer.h"
#include "optim/optimizer.h"

namespace nextword {

class Trainer {
 public:
  // Prepares a run: data, model, and the checkpoint that `resume` (auto, none
  // or a path) stands for. `config` is valid for training. Errors name the
  // file or the field; a run that is refused keeps its files as they were, but
  // for token files made from raw text.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(
      const TrainConfig& config, const std::string& resume);

  // Trains to the last step, evaluating, sampling and saving on the way.
  absl::Status Run();

  int64_t step() const { return step_; }
  const Parameters& parameters() const { return *parameters_; }

 private:
  struct StepResult {
    double loss;  // Nats per token.
    double gradient_norm;
    double learning_rate;
    absl::Duration duration;
  };

  Trainer(const TrainConfig& config, const ModelConfig& model, CorpusData data);

  // The last parts of Create.
  absl::Status Restore(const Checkpoint& checkpoint);
  absl::Status OpenMetrics();

  // The step itself.
  absl::StatusOr<StepResult> TrainStep();
  LossSum AddMicroBatch(int64_t first_in_step);
  Batch ReadBatch(uint64_t first_sequence) const;

  // What follows a step, when it is due.
  absl::Status AfterStep(const StepResult& result);
  absl::Status Log(const StepResult& result);
  absl::Status EvaluateHeldOut();
  absl::Status Sample();
  absl::Status Save();

  bool IsDue(int64_t every) const;
  bool IsLastStep() const { return step_ == config_.steps(); }

  const TrainConfig config_;
  CorpusData data_;
  std::optional<RunLock> lock_;
  std::optional<MetricsFile> metrics_;  // From the end of Create on.
  Progress progress_;
  layers::Transformer model_;
  std::unique_ptr<Parameters> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<GradientReducer> reducer_;
  double flops_per_token_;
  double matmul_peak_;

  int64_t step_ = 0;            // Steps done.
  uint64_t next_sequence_ = 0;  // The position in the data.
  int64_t steps_here_ = 0;      // Since this process started.
  double mean_step_seconds_ = 0;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_TRAINER_H_

// The trainer: one run from its config to its last checkpoint.
//
// The result is a function of config, corpus and seed: not of threads, not of
// ranks, and not of interruptions. Everything that changes during a run is in a
// checkpoint: weights, moments, step and the position in the data; randomness
// is keyed by the step. Each rank of a job has a trainer; that of rank 0, the
// lead, also reads and writes the run's files and speaks to the user. Not
// thread-safe.
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
#include "distributed/checkpoint.h"
#include "distributed/collectives/rank_groups.h"
#include "distributed/corpus_data.h"
#include "distributed/learner.h"
#include "distributed/metrics.h"
#include "distributed/profiler.h"
#include "distributed/progress.h"
#include "distributed/run_lock.h"

namespace nextword {

class Trainer {
 public:
  // Prepares a run: data, model, and the checkpoint that `resume` (auto, none
  // or a path) stands for, which only the lead needs to be able to read.
  // `config` is valid for training; the communicators outlive the trainer.
  // Errors name the file, the field or the rank; a run that is refused keeps
  // its files as they were, but for token files made from raw text.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(
      const TrainConfig& config, const std::string& resume,
      const RankGroups& groups);

  // Trains to the last step, evaluating, sampling and saving on the way.
  absl::Status Run();

  // Makes Run trace `steps` steps, after two that warm up where there are
  // enough, into `path`; empty means profile.json in the run's folder.
  void Profile(int64_t steps, const std::string& path);

  int64_t step() const { return learner_->step(); }
  const Parameters& parameters() const { return learner_->parameters(); }

 private:
  struct StepResult : Learner::StepResult {
    absl::Duration duration;
  };

  Trainer(const TrainConfig& config, CorpusData data,
          std::unique_ptr<Learner> learner, Communicator* all);

  // The last parts of Create. `checkpoint` is the lead's.
  absl::Status Restore(const std::optional<Checkpoint>& checkpoint);
  absl::Status OpenMetrics();

  absl::StatusOr<StepResult> TrainStep();

  // What follows a step, when it is due.
  absl::Status AfterStep(const StepResult& result);
  absl::Status Log(const StepResult& result);
  absl::Status EvaluateHeldOut();
  absl::Status Sample();
  absl::Status Save();

  bool IsLead() const { return communicator_->rank() == 0; }
  bool IsDue(int64_t every) const;
  bool IsLastStep() const { return step() == config_.steps(); }

  const TrainConfig config_;
  Communicator* const communicator_;  // Of all ranks.
  CorpusData data_;
  // The lead's, from the end of Create on.
  std::optional<RunLock> lock_;
  std::optional<MetricsFile> metrics_;
  Progress progress_;
  Profiler profiler_;
  std::unique_ptr<Learner> learner_;
  double flops_per_token_;
  double matmul_peak_;

  int64_t steps_here_ = 0;  // Since this process started.
  double mean_step_seconds_ = 0;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_TRAINER_H_

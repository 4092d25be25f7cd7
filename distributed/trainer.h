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
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "autograd/parameters.h"
#include "configs/train_config.pb.h"
#include "distributed/checkpoint.h"
#include "distributed/checkpoint_saver.h"
#include "distributed/collectives/rank_groups.h"
#include "distributed/corpus_data.h"
#include "distributed/learner.h"
#include "distributed/metrics.h"
#include "distributed/profiler.h"
#include "distributed/progress.h"
#include "distributed/run_checkpoints.h"
#include "distributed/run_health.h"
#include "distributed/run_lock.h"
#include "distributed/stop_agreement.h"

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

  enum class End {
    kDone,     // At the last step.
    kStopped,  // Before, because it was asked to (base/stop.h).
  };

  // Trains to the last step, evaluating, sampling and saving on the way. When
  // it is asked to stop, it does so at once, on all ranks alike, and saves:
  // what was computed of a step, an evaluation or a sample that is not done is
  // given up, and nothing else. Error: of files or other ranks; or of
  // stability, after a checkpoint.
  absl::StatusOr<End> Run();

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
          std::unique_ptr<Learner> learner, const RankGroups& groups);

  // The last parts of Create. `checkpoint` is the lead's.
  absl::Status Resume(const std::optional<Checkpoint>& checkpoint,
                      absl::Duration verified_in);
  absl::Status OpenRun(const std::vector<DamagedCheckpoint>& damaged);
  absl::Status OpenMetrics();

  // Makes the learner what `checkpoint`, the lead's, was saved of. Its
  // manifest, on all ranks; nothing when there is no checkpoint.
  absl::StatusOr<std::optional<CheckpointManifest>> Restore(
      const std::optional<Checkpoint>& checkpoint);

  absl::Status TrainToTheEnd();
  absl::StatusOr<StepResult> TrainStep();

  // What follows a step, when it is due.
  absl::Status AfterStep(const StepResult& result);
  absl::Status Log(const StepResult& result);
  absl::Status LogSkipped(const StepResult& result);
  absl::Status FollowUp();  // Evaluates and samples.
  absl::Status EvaluateHeldOut();
  absl::Status Sample();

  // After a step whose loss is a spike: back to a checkpoint from before.
  absl::Status RollBack(double loss);

  absl::Status Save(CheckpointSaver::Mode mode);
  CheckpointState State();
  absl::Status SeeSaved(const std::optional<CheckpointSaver::Outcome>& outcome);
  absl::Status SaveAndStop(absl::string_view why);

  absl::Status Record(absl::Span<const Metric> metrics);
  void Say(const std::string& line);  // Of the lead.

  bool IsLead() const { return groups_.all->rank() == 0; }
  bool IsDue(int64_t every) const;
  // The step after this one at which it is; the last step with 0.
  int64_t NextDue(int64_t every) const;
  bool IsLastStep() const { return step() == config_.steps(); }

  const TrainConfig config_;
  const RankGroups groups_;
  CorpusData data_;
  // The lead's, from the end of Create on.
  std::optional<RunLock> lock_;
  std::optional<MetricsFile> metrics_;
  Progress progress_;
  Profiler profiler_;
  std::unique_ptr<Learner> learner_;
  double flops_per_token_;
  double matmul_peak_;
  StopAgreement stop_;
  RunHealth health_;

  // Of the step that was done last.
  bool evaluation_due_ = false;
  bool sample_due_ = false;
  std::optional<double> held_out_loss_;
  bool unsaved_ = false;
  bool metrics_wait_ = false;  // For a file that can be written to.

  int64_t steps_here_ = 0;  // Since this process started.
  double mean_step_seconds_ = 0;
  CheckpointSaver saver_;  // Uses metrics_.
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_TRAINER_H_

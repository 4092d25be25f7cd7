#include "distributed/trainer.h"

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "autograd/base/check.h"
#include "autograd/base/file.h"
#include "autograd/base/log.h"
#include "autograd/base/status.h"
#include "autograd/base/stop.h"
#include "autograd/base/trace.h"
#include "configs/batch_config.h"
#include "configs/model_config.h"
#include "distributed/batch.h"
#include "distributed/compatibility.h"
#include "distributed/device.h"
#include "distributed/evaluator.h"
#include "distributed/matmul_peak.h"
#include "distributed/rendezvous/activity.h"
#include "distributed/run_checkpoints.h"
#include "distributed/same_everywhere.h"
#include "distributed/trained_model.h"
#include "distributed/versions.h"
#include "layers/generator.h"
#include "layers/model_cost.h"

namespace nextword {

absl::StatusOr<Trainer::End> Trainer::Run() {
  const absl::Status status = TrainToTheEnd();
  if (status.ok()) return End::kDone;
  if (!stop_.agreed() || !absl::IsCancelled(status)) return status;
  NW_RETURN_IF_ERROR(SaveAndStop(status.message()));
  return End::kStopped;
}

absl::Status Trainer::TrainToTheEnd() {
  if (NextDue(config_.checkpoint().every()) < config_.steps()) {
    saver_.Prepare(learner_->Weights(), learner_->Moments());
  }
  NW_RETURN_IF_ERROR(FollowUp());
  while (step() < config_.steps()) {
    profiler_.BeforeStep();
    NW_ASSIGN_OR_RETURN(const StepResult result, TrainStep());
    NW_RETURN_IF_ERROR(AfterStep(result));
    NW_RETURN_IF_ERROR(profiler_.AfterStep(&progress_));
  }
  if (unsaved_) return Save(CheckpointSaver::Mode::kNow);
  return SeeSaved(saver_.Wait());
}

void Trainer::Profile(int64_t steps, const std::string& path) {
  profiler_ = Profiler(
      steps, config_.steps() - step(),
      path.empty() ? absl::StrCat(config_.run_dir(), "/profile.json") : path);
}

absl::StatusOr<Trainer::StepResult> Trainer::TrainStep() {
  const absl::Time start = absl::Now();
  const auto read = [this](uint64_t first, Batch* batch) {
    data_.loader.GetBatch(first, batch->inputs.dim(0), batch->input_row(0),
                          batch->target_row(0), batch->document_row(0));
  };
  NW_ASSIGN_OR_RETURN(const Learner::StepResult result,
                      learner_->Step(read, &stop_));
  unsaved_ = true;
  held_out_loss_.reset();
  return StepResult{result, absl::Now() - start};
}

absl::Status Trainer::AfterStep(const StepResult& result) {
  NW_RETURN_IF_ERROR(SeeSaved(saver_.Poll()));
  if (IsLead()) NW_RETURN_IF_ERROR(Log(result));
  using Verdict = RunHealth::Verdict;
  const Verdict verdict = health_.Judge(result.not_finite, result.loss);
  if (verdict == Verdict::kSpike) return RollBack(result.loss);
  if (result.skipped()) NW_RETURN_IF_ERROR(LogSkipped(result));
  const int64_t every = config_.evaluation().every();
  evaluation_due_ =
      data_.held_out.has_value() && every > 0 && (IsDue(every) || IsLastStep());
  sample_due_ = IsDue(config_.sample().every());
  NW_RETURN_IF_ERROR(FollowUp());
  if (verdict == Verdict::kStop) {
    NW_RETURN_IF_ERROR(Save(CheckpointSaver::Mode::kNow));
    return absl::DataLossError(
        absl::StrCat("step ", step(), ": ", health_.sentence()));
  }
  if (!IsDue(config_.checkpoint().every()) || IsLastStep()) {
    return absl::OkStatus();
  }
  return Save(CheckpointSaver::Mode::kInBackground);
}

absl::Status Trainer::FollowUp() {
  if (evaluation_due_) NW_RETURN_IF_ERROR(EvaluateHeldOut());
  if (sample_due_) NW_RETURN_IF_ERROR(Sample());
  return absl::OkStatus();
}

bool Trainer::IsDue(int64_t every) const {
  return every > 0 && step() % every == 0;
}

int64_t Trainer::NextDue(int64_t every) const {
  return every > 0 ? (step() / every + 1) * every : config_.steps();
}

absl::Status Trainer::Log(const StepResult& result) {
  const double seconds = absl::ToDoubleSeconds(result.duration);
  // The first step warms caches and says little about the others.
  const bool settled = steps_here_++ > 1;
  mean_step_seconds_ =
      settled ? 0.9 * mean_step_seconds_ + 0.1 * seconds : seconds;
  const double tokens =
      static_cast<double>(TokensPerStep(config_.batch(), config_.model()));
  StepReport report;
  report.step = step();
  report.steps = config_.steps();
  report.loss = result.loss;
  report.learning_rate = result.learning_rate;
  report.gradient_norm = result.gradient_norm;
  report.tokens_per_second = tokens / mean_step_seconds_;
  report.peak_share = report.tokens_per_second * flops_per_token_ /
                      (matmul_peak_ * groups_.all->world_size());
  report.seconds_left =
      static_cast<double>(config_.steps() - step()) * mean_step_seconds_;
  const bool keep = IsDue(config_.log().every()) || IsLastStep() || step() == 1;
  progress_.Step(report, keep);
  if (!keep) return absl::OkStatus();
  return Record({{"loss", result.loss},
                 {"learning_rate", result.learning_rate},
                 {"gradient_norm", result.gradient_norm},
                 {"tokens_per_second", tokens / seconds},
                 {"tokens", step() * static_cast<int64_t>(tokens)}});
}

absl::Status Trainer::LogSkipped(const StepResult& result) {
  Say(absl::StrFormat("step %d  %s%s", step(), health_.sentence(),
                      result.bad_parameter.empty()
                          ? ""
                          : "; first of " + result.bad_parameter));
  return Record({{"skipped_steps", health_.state().skipped_steps()},
                 {"bad_parameter", result.bad_parameter}});
}

absl::Status Trainer::EvaluateHeldOut() {
  const trace::Span span("step", "evaluate");
  const ActivityScope activity("evaluation");
  NW_ASSIGN_OR_RETURN(
      const Evaluation evaluation,
      Evaluate(learner_->model(), *data_.held_out,
               config_.batch().micro_batch(),
               config_.evaluation().max_sequences(), groups_.all, &stop_));
  NW_RETURN_IF_ERROR(learner_->status());
  held_out_loss_ = evaluation.loss();
  evaluation_due_ = false;
  unsaved_ = true;
  Say(absl::StrFormat(
      "step %d  held-out loss %.4f  perplexity %.2f  %.4f bits per byte",
      step(), evaluation.loss(), evaluation.perplexity(),
      evaluation.bits_per_byte()));
  return Record({{"held_out_loss", evaluation.loss()},
                 {"held_out_bits_per_byte", evaluation.bits_per_byte()}});
}

absl::Status Trainer::Sample() {
  const trace::Span span("step", "sample");
  const ActivityScope activity("sample");
  // With all weights, the lead can do without the others.
  const bool alone =
      learner_->has_whole_weights() && groups_.all->world_size() > 1;
  if (alone && !IsLead()) {
    sample_due_ = false;
    return absl::OkStatus();
  }
  const SampleConfig& sample = config_.sample();
  std::vector<int32_t> prompt = {data_.tokenizer.end_of_text_id()};
  if (!sample.prompt().empty()) {
    prompt = data_.tokenizer.Encode(sample.prompt());
  }
  layers::SamplerOptions options;
  options.temperature = sample.temperature();
  options.top_k = sample.top_k();
  options.top_p = sample.top_p();
  options.seed = config_.seed() + static_cast<uint64_t>(step());
  std::vector<int32_t> ids;
  absl::Status stop;
  layers::Generator(&learner_->model(), data_.tokenizer.vocab_size(), options)
      .Generate(prompt, sample.tokens(), [&](int32_t id) {
        stop = alone ? CheckStop() : stop_.Check();
        if (!stop.ok() || id == data_.tokenizer.end_of_text_id()) return false;
        ids.push_back(id);
        return true;
      });
  NW_RETURN_IF_ERROR(learner_->status());
  // It remains due. Others hear of a request that the lead has seen when all go
  // on.
  if (!stop.ok()) return alone ? absl::OkStatus() : stop;
  sample_due_ = false;
  unsaved_ = true;
  NW_ASSIGN_OR_RETURN(const std::string text, data_.tokenizer.Decode(ids));
  Say(absl::StrCat("step ", step(), "  sample: ", sample.prompt(),
                   absl::Utf8SafeCEscape(text)));
  return Record({{"sample", sample.prompt() + text}});
}

absl::Status Trainer::RollBack(double loss) {
  // Half of it would be a state that the run never was in.
  const StopDelay delay;
  NW_RETURN_IF_ERROR(SeeSaved(saver_.Wait()));
  const int64_t spike = step();
  const uint64_t next_sequence = learner_->next_sequence();
  std::optional<Checkpoint> checkpoint;
  if (IsLead()) {
    NW_ASSIGN_OR_RETURN(checkpoint,
                        NewestScheduledBefore(config_.run_dir(), spike,
                                              config_.checkpoint().every()));
  }
  NW_ASSIGN_OR_RETURN(const auto manifest, Restore(checkpoint));
  if (!manifest.has_value()) {
    Say(absl::StrCat("step ", spike, "  ", health_.sentence(),
                     "; there is no checkpoint to go back to"));
    return Record({{"spike", loss}});
  }
  health_.AfterRollback(manifest->run());
  NW_RETURN_IF_ERROR(learner_->ResumeAt(manifest->step(), next_sequence,
                                        manifest->run().expected_factor()));
  unsaved_ = false;
  if (!IsLead()) return absl::OkStatus();
  NW_RETURN_IF_ERROR(RemoveCheckpointsAfter(config_.run_dir(), step()));
  Say(absl::StrFormat("step %d  %s; back to step %d, on with sequence %d",
                      spike, health_.sentence(), step(), next_sequence));
  NW_RETURN_IF_ERROR(OpenMetrics());
  // As a line of the next step: whoever resumes from this one does it again.
  return metrics_->Write(step() + 1,
                         {{"rolled_back_from", spike}, {"spike", loss}});
}

absl::Status Trainer::SaveAndStop(absl::string_view why) {
  // Of a run that has not begun there is nothing to save.
  const bool saves = unsaved_ && step() > 0;
  NW_RETURN_IF_ERROR(saves ? Save(CheckpointSaver::Mode::kNow)
                           : SeeSaved(saver_.Wait()));
  Say(absl::StrFormat("%s at step %d of %d; --resume auto goes on", why, step(),
                      config_.steps()));
  return absl::OkStatus();
}

absl::Status Trainer::Save(CheckpointSaver::Mode mode) {
  const trace::Span span("step", "save");
  const ActivityScope activity("save");
  const absl::Time start = absl::Now();
  NW_RETURN_IF_ERROR(SeeSaved(saver_.Wait()));
  if (learner_->has_whole_weights()) {
    NW_RETURN_IF_ERROR(
        CheckSame("weights", HashOf(parameters().values()), groups_.all));
  }
  NW_ASSIGN_OR_RETURN(const double norm, learner_->WeightNorm());
  if (!std::isfinite(norm)) {
    return absl::DataLossError(absl::StrFormat(
        "step %d: some weights are not finite; they are not saved, the run "
        "stops here, checkpoints that it has saved are intact",
        step()));
  }
  saver_.Save(State(), learner_->Weights(), learner_->Moments(), mode, start);
  unsaved_ = false;
  const std::optional<CheckpointSaver::Outcome> outcome = saver_.Poll();
  // There is no other save after this one.
  if (mode == CheckpointSaver::Mode::kNow && outcome.has_value()) {
    NW_RETURN_IF_ERROR(outcome->status);
  }
  return SeeSaved(outcome);
}

CheckpointState Trainer::State() {
  CheckpointState state;
  state.step = step();
  if (!IsLead()) return state;  // Which writes it.
  state.next_sequence = learner_->next_sequence();
  state.tokenizer_fingerprint = data_.tokenizer.fingerprint();
  state.tokenizer = data_.tokenizer_file;
  state.corpus_fingerprint = data_.training_fingerprint();
  state.held_out_fingerprint = data_.held_out_fingerprint();
  state.held_out_loss = held_out_loss_;
  state.config = config_;
  state.model = learner_->model().config();
  state.versions = Versions();
  state.run = health_.state();
  state.run.set_evaluation_due(evaluation_due_);
  state.run.set_sample_due(sample_due_);
  const std::vector<float> expected = learner_->expected_factors();
  state.run.mutable_expected_factor()->Assign(expected.begin(), expected.end());
  state.before_publishing = [this] { return metrics_->Sync(); };
  return state;
}

absl::Status Trainer::SeeSaved(
    const std::optional<CheckpointSaver::Outcome>& outcome) {
  if (!outcome.has_value()) return absl::OkStatus();
  const absl::Status& status = outcome->status;
  if (status.ok()) {
    Say(absl::StrFormat(
        "step %d  saved %s in %.2f s, in which training waited %.2f s",
        outcome->step, CheckpointDirectory(config_.run_dir(), outcome->step),
        absl::ToDoubleSeconds(outcome->took),
        absl::ToDoubleSeconds(outcome->stalled)));
    return status;
  }
  // What the others see is an exchange that failed, which nothing survives.
  if (!IsLead() || absl::IsUnavailable(status) ||
      config_.checkpoint().on_failure() == STOP) {
    return status;
  }
  Log::warn("step {}: not saved: {}; the run goes on", outcome->step,
            std::string(status.message()));
  return Record({{"not_saved", std::string(status.message())}});
}

absl::Status Trainer::Record(absl::Span<const Metric> metrics) {
  if (!IsLead()) return absl::OkStatus();
  const absl::Status status = metrics_->Write(step(), metrics);
  if (status.ok()) metrics_wait_ = false;
  if (status.ok() || config_.checkpoint().on_failure() == STOP) return status;
  // What could not be written is kept, and no checkpoint is made without it.
  if (!metrics_wait_) {
    Log::warn("{}; kept for later", std::string(status.message()));
  }
  metrics_wait_ = true;
  return absl::OkStatus();
}

void Trainer::Say(const std::string& line) {
  if (IsLead()) progress_.Say(line);
}

Trainer::Trainer(const TrainConfig& config, CorpusData data,
                 std::unique_ptr<Learner> learner, const RankGroups& groups)
    : config_(config),
      groups_(groups),
      data_(std::move(data)),
      learner_(std::move(learner)),
      flops_per_token_(layers::TrainFlopsPerToken(
          learner_->model().config(),
          SequenceLength(config.batch(), config.model()))),
      matmul_peak_(
          MatmulPeak(learner_->compute_dtype(), learner_->model().device())),
      stop_(groups.all),
      health_(config.stability()),
      saver_(config, groups) {}

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(
    const TrainConfig& config, const std::string& resume,
    const RankGroups& groups) {
  Communicator* const all = groups.all;
  const bool lead = all->rank() == 0;
  NW_RETURN_IF_ERROR(DeviceOf(config.device()).status());
  std::optional<Checkpoint> checkpoint;
  std::vector<DamagedCheckpoint> damaged;
  const absl::Time start = absl::Now();
  if (lead) {
    NW_ASSIGN_OR_RETURN(checkpoint,
                        ResumeFrom(resume, config.run_dir(), &damaged));
  }
  const absl::Duration verified_in = absl::Now() - start;
  NW_ASSIGN_OR_RETURN(CorpusData data, CorpusData::Open(config));
  NW_RETURN_IF_ERROR(CheckSame("corpus", data.fingerprint(), all));
  NW_RETURN_IF_ERROR(CheckSame("tokenizer", data.tokenizer.fingerprint(), all));
  NW_ASSIGN_OR_RETURN(
      const ModelConfig model,
      ResolveModel(config.model(), data.tokenizer.vocab_size()));
  if (checkpoint.has_value()) {
    NW_RETURN_IF_ERROR(CheckCompatible(*checkpoint, config, model,
                                       data.tokenizer,
                                       data.training_fingerprint()));
  }
  NW_ASSIGN_OR_RETURN(std::unique_ptr<Learner> learner,
                      Learner::Create(config, model, groups));
  std::unique_ptr<Trainer> trainer(
      new Trainer(config, std::move(data), std::move(learner), groups));
  NW_RETURN_IF_ERROR(trainer->Resume(checkpoint, verified_in));
  if (lead && !checkpoint.has_value() && resume == "auto") {
    trainer->Say(config.run_dir() +
                 " has no checkpoint yet: starting from step 0");
  }
  if (lead) NW_RETURN_IF_ERROR(trainer->OpenRun(damaged));
  return trainer;
}

absl::Status Trainer::Resume(const std::optional<Checkpoint>& checkpoint,
                             absl::Duration verified_in) {
  const absl::Time start = absl::Now();
  NW_ASSIGN_OR_RETURN(const auto manifest, Restore(checkpoint));
  if (!manifest.has_value()) return learner_->Initialize();
  NW_RETURN_IF_ERROR(learner_->ResumeAt(manifest->step(),
                                        manifest->next_sequence(),
                                        manifest->run().expected_factor()));
  health_.Restore(manifest->run());
  evaluation_due_ =
      data_.held_out.has_value() && manifest->run().evaluation_due();
  sample_due_ = manifest->run().sample_due();
  if (!IsLead()) return absl::OkStatus();
  Say(absl::StrFormat(
      "resumed from %s, step %d of %d, verified in %.2f s, read in %.2f s",
      checkpoint->directory(), step(), config_.steps(),
      absl::ToDoubleSeconds(verified_in),
      absl::ToDoubleSeconds(absl::Now() - start)));
  for (const std::string& change :
       ChangedFields(checkpoint->config(), config_)) {
    Say(absl::StrCat("changed: ", change));
  }
  if (IsLastStep()) Say("nothing is left to do");
  return absl::OkStatus();
}

absl::StatusOr<std::optional<CheckpointManifest>> Trainer::Restore(
    const std::optional<Checkpoint>& checkpoint) {
  const ActivityScope activity(
      "restore", "",
      IsLead() ? ActivityKind::kWorks : ActivityKind::kWaitsForOthers);
  ShardedTensors weights = learner_->Weights();
  ShardedTensors moments = learner_->Moments();
  std::string bytes;
  if (checkpoint.has_value()) {
    NW_RETURN_IF_ERROR(checkpoint->Check(weights.tensors(), moments.tensors()));
    bytes = checkpoint->manifest().SerializeAsString();
  }
  NW_RETURN_IF_ERROR(Share("manifest", &bytes, groups_.all));
  std::optional<CheckpointManifest> manifest;
  if (bytes.empty()) return manifest;
  NW_CHECK(manifest.emplace().ParseFromString(bytes));
  NW_RETURN_IF_ERROR(weights.Restore(
      [&](const std::string& name, int64_t first, Tensor* into) {
        return checkpoint->ReadWeight(name, first, into);
      }));
  NW_RETURN_IF_ERROR(moments.Restore(
      [&](const std::string& name, int64_t first, Tensor* into) {
        return checkpoint->ReadMoment(name, first, into);
      }));
  return manifest;
}

absl::Status Trainer::OpenRun(const std::vector<DamagedCheckpoint>& damaged) {
  NW_RETURN_IF_ERROR(MakeDirectories(config_.run_dir()));
  NW_ASSIGN_OR_RETURN(RunLock lock, RunLock::Acquire(config_.run_dir()));
  lock_.emplace(std::move(lock));
  NW_RETURN_IF_ERROR(RemoveLeftovers(config_.run_dir()));
  for (const DamagedCheckpoint& checkpoint : damaged) {
    NW_RETURN_IF_ERROR(SetAside(checkpoint));
  }
  return OpenMetrics();
}

absl::Status Trainer::OpenMetrics() {
  NW_ASSIGN_OR_RETURN(
      MetricsFile metrics,
      MetricsFile::Open(absl::StrCat(config_.run_dir(), "/metrics.jsonl"),
                        step() > 0 ? step() : -1));
  metrics_.emplace(std::move(metrics));
  return absl::OkStatus();
}

}  // namespace nextword

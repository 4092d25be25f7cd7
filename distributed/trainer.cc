#include "distributed/trainer.h"

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
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

absl::Status Trainer::Run() {
  while (step() < config_.steps()) {
    profiler_.BeforeStep();
    NW_ASSIGN_OR_RETURN(const StepResult result, TrainStep());
    NW_RETURN_IF_ERROR(AfterStep(result));
    NW_RETURN_IF_ERROR(profiler_.AfterStep(&progress_));
  }
  return absl::OkStatus();
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
  NW_ASSIGN_OR_RETURN(const Learner::StepResult result, learner_->Step(read));
  return StepResult{result, absl::Now() - start};
}

absl::Status Trainer::AfterStep(const StepResult& result) {
  if (IsLead()) NW_RETURN_IF_ERROR(Log(result));
  if (data_.held_out.has_value() && config_.evaluation().every() > 0 &&
      (IsDue(config_.evaluation().every()) || IsLastStep())) {
    NW_RETURN_IF_ERROR(EvaluateHeldOut());
  }
  if (IsDue(config_.sample().every())) NW_RETURN_IF_ERROR(Sample());
  if (IsDue(config_.checkpoint().every()) || IsLastStep()) {
    NW_RETURN_IF_ERROR(Save());
  }
  return absl::OkStatus();
}

bool Trainer::IsDue(int64_t every) const {
  return every > 0 && step() % every == 0;
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
                      (matmul_peak_ * communicator_->world_size());
  report.seconds_left =
      static_cast<double>(config_.steps() - step()) * mean_step_seconds_;
  const bool keep = IsDue(config_.log().every()) || IsLastStep() || step() == 1;
  progress_.Step(report, keep);
  if (!keep) return absl::OkStatus();
  return metrics_->Write(step(),
                         {{"loss", result.loss},
                          {"learning_rate", result.learning_rate},
                          {"gradient_norm", result.gradient_norm},
                          {"tokens_per_second", tokens / seconds},
                          {"tokens", step() * static_cast<int64_t>(tokens)}});
}

absl::Status Trainer::EvaluateHeldOut() {
  const trace::Span span("step", "evaluate");
  const ActivityScope activity("evaluation");
  NW_ASSIGN_OR_RETURN(
      const Evaluation evaluation,
      Evaluate(learner_->model(), *data_.held_out,
               config_.batch().micro_batch(),
               config_.evaluation().max_sequences(), communicator_));
  NW_RETURN_IF_ERROR(learner_->status());
  if (!IsLead()) return absl::OkStatus();
  progress_.Say(absl::StrFormat(
      "step %d  held-out loss %.4f  perplexity %.2f  %.4f bits per byte",
      step(), evaluation.loss(), evaluation.perplexity(),
      evaluation.bits_per_byte()));
  return metrics_->Write(
      step(), {{"held_out_loss", evaluation.loss()},
               {"held_out_bits_per_byte", evaluation.bits_per_byte()}});
}

absl::Status Trainer::Sample() {
  const trace::Span span("step", "sample");
  const ActivityScope activity("sample");
  // With all weights, the lead can do without the others.
  if (!IsLead() && learner_->has_whole_weights()) return absl::OkStatus();
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
  layers::Generator(&learner_->model(), data_.tokenizer.vocab_size(), options)
      .Generate(prompt, sample.tokens(), [&](int32_t id) {
        if (id == data_.tokenizer.end_of_text_id()) return false;
        ids.push_back(id);
        return true;
      });
  NW_RETURN_IF_ERROR(learner_->status());
  if (!IsLead()) return absl::OkStatus();
  NW_ASSIGN_OR_RETURN(const std::string text, data_.tokenizer.Decode(ids));
  progress_.Say(absl::StrCat("step ", step(), "  sample: ", sample.prompt(),
                             absl::Utf8SafeCEscape(text)));
  return metrics_->Write(step(), {{"sample", sample.prompt() + text}});
}

absl::Status Trainer::Save() {
  const trace::Span span("step", "save");
  const ActivityScope activity("save");
  if (learner_->has_whole_weights()) {
    NW_RETURN_IF_ERROR(
        CheckSame("weights", HashOf(parameters().values()), communicator_));
  }
  NW_ASSIGN_OR_RETURN(const double norm, learner_->WeightNorm());
  if (!std::isfinite(norm)) {
    return absl::DataLossError(absl::StrFormat(
        "step %d: some weights are not finite; they are not saved, the run "
        "stops here, checkpoints that it has saved are intact",
        step()));
  }
  ShardedTensors weights = learner_->Weights();
  ShardedTensors moments = learner_->Moments();
  if (!IsLead()) {
    NW_RETURN_IF_ERROR(weights.WriteNowhere());
    return moments.WriteNowhere();
  }
  CheckpointState state;
  state.step = step();
  state.next_sequence = learner_->next_sequence();
  state.tokenizer_fingerprint = data_.tokenizer.fingerprint();
  state.tokenizer = data_.tokenizer_file;
  state.config = config_;
  state.model = learner_->model().config();
  state.versions = Versions();
  state.weights = weights.tensors();
  state.weight_writer = [&](const NamedTensor& tensor, const ByteSink& sink) {
    return weights.Write(tensor, sink);
  };
  state.moments = moments.tensors();
  state.moment_writer = [&](const NamedTensor& tensor, const ByteSink& sink) {
    return moments.Write(tensor, sink);
  };
  NW_RETURN_IF_ERROR(metrics_->Sync());
  NW_RETURN_IF_ERROR(SaveCheckpoint(config_.run_dir(), state));
  progress_.Say(
      absl::StrFormat("step %d  saved %s", step(),
                      CheckpointDirectory(config_.run_dir(), step())));
  return PruneCheckpoints(config_.run_dir(), step(),
                          config_.checkpoint().keep());
}

Trainer::Trainer(const TrainConfig& config, CorpusData data,
                 std::unique_ptr<Learner> learner, Communicator* all)
    : config_(config),
      communicator_(all),
      data_(std::move(data)),
      learner_(std::move(learner)),
      flops_per_token_(layers::TrainFlopsPerToken(
          learner_->model().config(),
          SequenceLength(config.batch(), config.model()))),
      matmul_peak_(MeasureMatmulPeak(learner_->compute_dtype(),
                                     learner_->model().device(), 0.3)) {}

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(
    const TrainConfig& config, const std::string& resume,
    const RankGroups& groups) {
  Communicator* const all = groups.all;
  const bool lead = all->rank() == 0;
  NW_RETURN_IF_ERROR(DeviceOf(config.device()).status());
  std::optional<Checkpoint> checkpoint;
  if (lead) {
    NW_ASSIGN_OR_RETURN(checkpoint, ResumeFrom(resume, config.run_dir()));
  }
  NW_ASSIGN_OR_RETURN(CorpusData data, CorpusData::Open(config));
  NW_RETURN_IF_ERROR(CheckSame("corpus", data.fingerprint(), all));
  NW_RETURN_IF_ERROR(CheckSame("tokenizer", data.tokenizer.fingerprint(), all));
  NW_ASSIGN_OR_RETURN(
      const ModelConfig model,
      ResolveModel(config.model(), data.tokenizer.vocab_size()));
  if (checkpoint.has_value()) {
    NW_RETURN_IF_ERROR(
        CheckCompatible(*checkpoint, config, model, data.tokenizer));
  }
  NW_ASSIGN_OR_RETURN(std::unique_ptr<Learner> learner,
                      Learner::Create(config, model, groups));
  std::unique_ptr<Trainer> trainer(
      new Trainer(config, std::move(data), std::move(learner), all));
  NW_RETURN_IF_ERROR(trainer->Restore(checkpoint));
  if (lead && !checkpoint.has_value() && resume == "auto") {
    trainer->progress_.Say(config.run_dir() +
                           " has no checkpoint yet: starting from step 0");
  }
  if (lead) NW_RETURN_IF_ERROR(trainer->OpenMetrics());
  return trainer;
}

absl::Status Trainer::Restore(const std::optional<Checkpoint>& checkpoint) {
  const ActivityScope activity(
      "restore", "",
      IsLead() ? ActivityKind::kWorks : ActivityKind::kWaitsForOthers);
  ShardedTensors weights = learner_->Weights();
  ShardedTensors moments = learner_->Moments();
  // Where the run is: whether there is a checkpoint, its step, the position in
  // the data.
  const Tensor position = Zeros({3}, DType::kF64);
  double* const where = position.data<double>();
  if (checkpoint.has_value()) {
    NW_RETURN_IF_ERROR(checkpoint->Check(weights.tensors(), moments.tensors()));
    where[0] = 1;
    where[1] = static_cast<double>(checkpoint->manifest().step());
    where[2] = static_cast<double>(checkpoint->manifest().next_sequence());
  }
  NW_RETURN_IF_ERROR(communicator_->Broadcast(position, 0, "restore").Wait());
  if (where[0] == 0) return learner_->Initialize();
  NW_RETURN_IF_ERROR(weights.Restore(
      [&](const std::string& name, int64_t first, Tensor* into) {
        return checkpoint->ReadWeight(name, first, into);
      }));
  NW_RETURN_IF_ERROR(moments.Restore(
      [&](const std::string& name, int64_t first, Tensor* into) {
        return checkpoint->ReadMoment(name, first, into);
      }));
  NW_RETURN_IF_ERROR(learner_->ResumeAt(static_cast<int64_t>(where[1]),
                                        static_cast<uint64_t>(where[2])));
  if (!IsLead()) return absl::OkStatus();
  progress_.Say(absl::StrFormat("resumed from %s, step %d of %d",
                                checkpoint->directory(), step(),
                                config_.steps()));
  if (IsLastStep()) progress_.Say("nothing is left to do");
  return absl::OkStatus();
}

absl::Status Trainer::OpenMetrics() {
  NW_RETURN_IF_ERROR(MakeDirectories(config_.run_dir()));
  NW_ASSIGN_OR_RETURN(RunLock lock, RunLock::Acquire(config_.run_dir()));
  lock_.emplace(std::move(lock));
  NW_ASSIGN_OR_RETURN(
      MetricsFile metrics,
      MetricsFile::Open(absl::StrCat(config_.run_dir(), "/metrics.jsonl"),
                        step() > 0 ? step() : -1));
  metrics_.emplace(std::move(metrics));
  return absl::OkStatus();
}

}  // namespace nextword

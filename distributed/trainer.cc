#include "distributed/trainer.h"

#include <unistd.h>

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
#include "autograd/engine.h"
#include "configs/batch_config.h"
#include "configs/model_config.h"
#include "distributed/compatibility.h"
#include "distributed/matmul_peak.h"
#include "distributed/run_checkpoints.h"
#include "distributed/trained_model.h"
#include "distributed/versions.h"
#include "layers/generator.h"
#include "layers/model_cost.h"
#include "optim/clip.h"
#include "optim/schedule.h"

namespace nextword {

absl::Status Trainer::Run() {
  while (step_ < config_.steps()) {
    NW_ASSIGN_OR_RETURN(const StepResult result, TrainStep());
    NW_RETURN_IF_ERROR(AfterStep(result));
  }
  return absl::OkStatus();
}

absl::StatusOr<Trainer::StepResult> Trainer::TrainStep() {
  const absl::Time start = absl::Now();
  const BatchConfig& batch = config_.batch();
  parameters_->ZeroGradients();
  int64_t sequence = 0;  // Within the step.
  for (int lane = 0; lane < batch.lanes(); ++lane) {
    LossSum lane_loss;
    for (int i = 0; i < batch.micro_batches(); ++i) {
      lane_loss.Add(AddMicroBatch(sequence));
      sequence += batch.micro_batch();
    }
    reducer_->FinishLane(lane_loss, batch.lanes());
  }
  const LossSum loss = reducer_->Finish();

  // Gradients are those of the sum; the update wants those of the mean.
  const double mean = 1.0 / static_cast<double>(loss.tokens);
  const double norm = GlobalNorm(parameters_->gradients()) * mean;
  // Where the loss is finite, gradients need not be, and would end in weights.
  if (!std::isfinite(loss.nats) || !std::isfinite(norm) || loss.tokens == 0) {
    return absl::DataLossError(absl::StrFormat(
        "step %d: the loss is %g over %d tokens, the norm of its gradient %g; "
        "the run stops here, checkpoints that it has saved are intact",
        step_ + 1, loss.nats, loss.tokens, norm));
  }
  const double clip = ClipFactor(norm, config_.optimizer().clip_norm());
  const double learning_rate =
      config_.optimizer().learning_rate() *
      LearningRateFactor(config_.schedule(), config_.steps(), step_);
  optimizer_->Step(step_, learning_rate, clip * mean);

  ++step_;
  next_sequence_ += sequence;
  return StepResult{loss.nats * mean, norm, learning_rate, absl::Now() - start};
}

LossSum Trainer::AddMicroBatch(int64_t first_in_step) {
  const Batch batch = ReadBatch(next_sequence_ + first_in_step);
  layers::ForwardContext context;
  context.dropout = config_.model().dropout();
  context.random = {.seed = config_.seed(),
                    .step = static_cast<uint64_t>(step_),
                    .sample = static_cast<uint32_t>(first_in_step)};
  const Variable loss = SumLoss(model_, batch, context);
  const LossSum sum{*loss.value().data<float>(), batch.CountTargets()};
  Backward(loss);
  return sum;
}

Batch Trainer::ReadBatch(uint64_t first_sequence) const {
  const int64_t rows = config_.batch().micro_batch();
  Batch batch(rows, SequenceLength(config_.batch(), config_.model()),
              config_.data().document_mask());
  data_.loader.GetBatch(first_sequence, rows, batch.input_row(0),
                        batch.target_row(0), batch.document_row(0));
  return batch;
}

absl::Status Trainer::AfterStep(const StepResult& result) {
  NW_RETURN_IF_ERROR(Log(result));
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
  return every > 0 && step_ % every == 0;
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
  report.step = step_;
  report.steps = config_.steps();
  report.loss = result.loss;
  report.learning_rate = result.learning_rate;
  report.gradient_norm = result.gradient_norm;
  report.tokens_per_second = tokens / mean_step_seconds_;
  report.peak_share =
      report.tokens_per_second * flops_per_token_ / matmul_peak_;
  report.seconds_left =
      static_cast<double>(config_.steps() - step_) * mean_step_seconds_;
  const bool keep = IsDue(config_.log().every()) || IsLastStep() || step_ == 1;
  progress_.Step(report, keep);
  if (!keep) return absl::OkStatus();
  return metrics_->Write(step_,
                         {{"loss", result.loss},
                          {"learning_rate", result.learning_rate},
                          {"gradient_norm", result.gradient_norm},
                          {"tokens_per_second", tokens / seconds},
                          {"tokens", step_ * static_cast<int64_t>(tokens)}});
}

absl::Status Trainer::EvaluateHeldOut() {
  const Evaluation evaluation =
      Evaluate(model_, *data_.held_out, config_.batch().micro_batch(),
               config_.evaluation().max_sequences());
  progress_.Say(absl::StrFormat(
      "step %d  held-out loss %.4f  perplexity %.2f  %.4f bits per byte", step_,
      evaluation.loss(), evaluation.perplexity(), evaluation.bits_per_byte()));
  return metrics_->Write(
      step_, {{"held_out_loss", evaluation.loss()},
              {"held_out_bits_per_byte", evaluation.bits_per_byte()}});
}

absl::Status Trainer::Sample() {
  const SampleConfig& sample = config_.sample();
  std::vector<int32_t> prompt = {data_.tokenizer.end_of_text_id()};
  if (!sample.prompt().empty()) {
    prompt = data_.tokenizer.Encode(sample.prompt());
  }
  layers::SamplerOptions options;
  options.temperature = sample.temperature();
  options.top_k = sample.top_k();
  options.top_p = sample.top_p();
  options.seed = config_.seed() + static_cast<uint64_t>(step_);
  std::vector<int32_t> ids;
  layers::Generator(&model_, data_.tokenizer.vocab_size(), options)
      .Generate(prompt, sample.tokens(), [&](int32_t id) {
        if (id == data_.tokenizer.end_of_text_id()) return false;
        ids.push_back(id);
        return true;
      });
  NW_ASSIGN_OR_RETURN(const std::string text, data_.tokenizer.Decode(ids));
  progress_.Say(absl::StrCat("step ", step_, "  sample: ", sample.prompt(),
                             absl::Utf8SafeCEscape(text)));
  return metrics_->Write(step_, {{"sample", sample.prompt() + text}});
}

absl::Status Trainer::Save() {
  if (!std::isfinite(GlobalNorm(parameters_->values()))) {
    return absl::DataLossError(absl::StrFormat(
        "step %d: some weights are not finite; they are not saved, the run "
        "stops here, checkpoints that it has saved are intact",
        step_));
  }
  CheckpointState state;
  state.step = step_;
  state.next_sequence = next_sequence_;
  state.tokenizer_fingerprint = data_.tokenizer.fingerprint();
  state.tokenizer = data_.tokenizer_file;
  state.config = config_;
  state.model = model_.config();
  state.versions = Versions();
  state.weights = NamedWeights(*parameters_);
  state.moments = optimizer_->State();
  NW_RETURN_IF_ERROR(metrics_->Sync());
  NW_RETURN_IF_ERROR(SaveCheckpoint(config_.run_dir(), state));
  progress_.Say(absl::StrFormat("step %d  saved %s", step_,
                                CheckpointDirectory(config_.run_dir(), step_)));
  return PruneCheckpoints(config_.run_dir(), step_,
                          config_.checkpoint().keep());
}

Trainer::Trainer(const TrainConfig& config, const ModelConfig& model,
                 CorpusData data)
    : config_(config),
      data_(std::move(data)),
      model_(model),
      parameters_(std::make_unique<Parameters>(model_.NamedParameters(),
                                               DType::kF32, Device::Cpu())),
      optimizer_(MakeOptimizer(config.optimizer(), parameters_.get())),
      reducer_(std::make_unique<GradientReducer>(parameters_.get())),
      flops_per_token_(layers::TrainFlopsPerToken(
          model, SequenceLength(config.batch(), config.model()))),
      matmul_peak_(MeasureMatmulPeak(DType::kF32, Device::Cpu(), 0.1)) {}

namespace {

// Refuses what the machine's memory cannot hold, before anything is allocated.
absl::Status CheckMemory(const TrainConfig& config, const ModelConfig& model) {
  const layers::TrainMemory need = layers::EstimateTrainMemory(
      model, config.batch().micro_batch(),
      SequenceLength(config.batch(), model),
      config.optimizer().kind() == ADAMW ? 2 : 1,
      GradientReducer::Buffers(config.batch().lanes()));
  const double has = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                     static_cast<double>(sysconf(_SC_PAGE_SIZE));
  if (static_cast<double>(need.total()) <= has) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "training needs about %.1f GB (weights %.1f, gradients %.1f, moments "
      "%.1f, activations %.1f), this machine has %.1f; a smaller model, "
      "batch.micro_batch or batch.lanes, or model.recompute: true need less",
      need.total() / 1e9, need.weights / 1e9, need.gradients / 1e9,
      need.moments / 1e9, need.activations / 1e9, has / 1e9));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(
    const TrainConfig& config, const std::string& resume) {
  NW_ASSIGN_OR_RETURN(const std::optional<Checkpoint> checkpoint,
                      ResumeFrom(resume, config.run_dir()));
  NW_ASSIGN_OR_RETURN(CorpusData data, CorpusData::Open(config));
  NW_ASSIGN_OR_RETURN(
      const ModelConfig model,
      ResolveModel(config.model(), data.tokenizer.vocab_size()));
  if (checkpoint.has_value()) {
    NW_RETURN_IF_ERROR(
        CheckCompatible(*checkpoint, config, model, data.tokenizer));
  }
  NW_RETURN_IF_ERROR(CheckMemory(config, model));
  std::unique_ptr<Trainer> trainer(new Trainer(config, model, std::move(data)));
  if (checkpoint.has_value()) {
    NW_RETURN_IF_ERROR(trainer->Restore(*checkpoint));
  } else {
    trainer->model_.Initialize(config.seed());
    if (resume == "auto") {
      trainer->progress_.Say(config.run_dir() +
                             " has no checkpoint yet: starting from step 0");
    }
  }
  NW_RETURN_IF_ERROR(trainer->OpenMetrics());
  return trainer;
}

absl::Status Trainer::Restore(const Checkpoint& checkpoint) {
  NW_RETURN_IF_ERROR(
      checkpoint.Read(NamedWeights(*parameters_), optimizer_->State()));
  step_ = checkpoint.manifest().step();
  next_sequence_ = checkpoint.manifest().next_sequence();
  progress_.Say(absl::StrFormat("resumed from %s, step %d of %d",
                                checkpoint.directory(), step_,
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
                        step_ > 0 ? step_ : -1));
  metrics_.emplace(std::move(metrics));
  return absl::OkStatus();
}

}  // namespace nextword

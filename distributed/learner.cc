#include "distributed/learner.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "autograd/base/status.h"
#include "autograd/base/trace.h"
#include "autograd/engine.h"
#include "autograd/tensor/allocator.h"
#include "configs/batch_config.h"
#include "distributed/device.h"
#include "layers/model_cost.h"
#include "optim/clip.h"
#include "optim/schedule.h"

namespace nextword {
namespace {

// Refuses what the device's memory cannot hold, before anything is allocated.
absl::Status CheckMemory(const TrainConfig& config, const ModelConfig& model,
                         Device device) {
  const layers::TrainMemory need = Learner::EstimateMemory(config, model);
  const int64_t has = AllocatorFor(device).Capacity();
  if (need.total() <= has) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "training needs about %.1f GB (weights %.1f, gradients %.1f, moments "
      "%.1f, activations %.1f), this machine's %s has %.1f; a smaller model, "
      "batch.micro_batch or batch.lanes, or model.recompute: true need less",
      need.total() / 1e9, need.weights / 1e9, need.gradients / 1e9,
      need.moments / 1e9, need.activations / 1e9, DeviceTypeName(device.type),
      has / 1e9));
}

}  // namespace

layers::TrainMemory Learner::EstimateMemory(const TrainConfig& config,
                                            const ModelConfig& model) {
  return layers::EstimateTrainMemory(
      model,
      {.micro_batch = config.batch().micro_batch(),
       .sequence_length = SequenceLength(config.batch(), model),
       .moments = config.optimizer().kind() == SGD ? 1 : 2,
       .hidden_moments = config.optimizer().kind() == ADAMW ? 2 : 1,
       .gradient_buffers = GradientReducer::Buffers(config.batch().lanes()),
       .compute_dtype = ComputeDTypeOf(config)});
}

absl::StatusOr<std::unique_ptr<Learner>> Learner::Create(
    const TrainConfig& config, const ModelConfig& model) {
  NW_ASSIGN_OR_RETURN(const Device device, DeviceOf(config.device()));
  NW_RETURN_IF_ERROR(CheckMemory(config, model, device));
  return std::unique_ptr<Learner>(new Learner(config, model, device));
}

Learner::Learner(const TrainConfig& config, const ModelConfig& model,
                 Device device)
    : config_(config),
      model_(model),
      parameters_(std::make_unique<Parameters>(model_.NamedParameters(),
                                               DType::kF32, device)),
      optimizer_(MakeOptimizer(config.optimizer(), parameters_.get())),
      reducer_(std::make_unique<GradientReducer>(parameters_.get())) {
  SetMatmulPrecision(config);
}

void Learner::Initialize() {
  model_.Initialize(config_.seed());
  parameters_->ComputeIn(compute_dtype());
}

void Learner::ResumeAt(int64_t step, uint64_t next_sequence) {
  parameters_->ComputeIn(compute_dtype());
  step_ = step;
  next_sequence_ = next_sequence;
}

absl::StatusOr<Learner::StepResult> Learner::Step(const BatchReader& read) {
  const trace::Span span("step", "step");
  const LossSum loss = SumGradients(read);
  NW_ASSIGN_OR_RETURN(const StepResult result, Update(loss));
  ++step_;
  next_sequence_ += SequencesPerStep(config_.batch());
  return result;
}

LossSum Learner::SumGradients(const BatchReader& read) {
  const BatchConfig& batch = config_.batch();
  // The gradients are zero: at first, and after every update.
  int64_t sequence = 0;  // Within the step.
  for (int lane = 0; lane < batch.lanes(); ++lane) {
    LossSum lane_loss;
    for (int i = 0; i < batch.micro_batches(); ++i) {
      lane_loss.Add(AddMicroBatch(sequence, read));
      sequence += batch.micro_batch();
    }
    const trace::Span span("step", "reduce");
    reducer_->FinishLane(lane_loss, batch.lanes());
  }
  return reducer_->Finish();
}

LossSum Learner::AddMicroBatch(int64_t first_in_step, const BatchReader& read) {
  const Batch batch = ReadBatch(next_sequence_ + first_in_step, read);
  const Variable loss = Forward(batch, first_in_step);
  const LossSum sum{ToScalar<float>(loss.value()), batch.CountTargets()};
  const trace::Span span("step", "backward");
  Backward(loss);
  return sum;
}

Batch Learner::ReadBatch(uint64_t first, const BatchReader& read) const {
  const trace::Span span("step", "data");
  Batch batch(config_.batch().micro_batch(),
              SequenceLength(config_.batch(), config_.model()),
              config_.data().document_mask());
  read(first, &batch);
  return batch;
}

Variable Learner::Forward(const Batch& batch, int64_t first_in_step) const {
  const trace::Span span("step", "forward");
  layers::ForwardContext context;
  context.dropout = config_.model().dropout();
  context.random = {.seed = config_.seed(),
                    .step = static_cast<uint64_t>(step_),
                    .sample = static_cast<uint32_t>(first_in_step)};
  return SumLoss(model_, batch, context);
}

absl::StatusOr<Learner::StepResult> Learner::Update(const LossSum& loss) {
  const trace::Span span("step", "update");
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
  return StepResult{loss.nats * mean, norm, learning_rate};
}

}  // namespace nextword

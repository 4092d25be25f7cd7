#include "distributed/learner.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "autograd/base/interruptible.h"
#include "autograd/base/status.h"
#include "autograd/base/trace.h"
#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "autograd/kernels/quantization.h"
#include "configs/batch_config.h"
#include "distributed/device.h"
#include "distributed/rendezvous/activity.h"
#include "distributed/train_memory.h"
#include "distributed/trained_model.h"
#include "optim/clip.h"
#include "optim/schedule.h"

namespace nextword {
namespace {

ReducedGradients ReducedGradientsOf(Sharding sharding) {
  if (sharding == NONE) return ReducedGradients::kWhole;
  return sharding == OPTIMIZER ? ReducedGradients::kPieces
                               : ReducedGradients::kPiecesOnly;
}

// Those that the blocks' linear layers multiply with.
std::vector<NamedVariable> BlockMatrices(const Parameters& parameters) {
  std::vector<NamedVariable> matrices;
  for (const Parameters::Entry& entry : parameters.entries()) {
    if (entry.is_matrix() && absl::StartsWith(entry.name, "blocks.")) {
      matrices.push_back({entry.name, entry.variable});
    }
  }
  return matrices;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Learner>> Learner::Create(
    const TrainConfig& config, const ModelConfig& model,
    const RankGroups& groups) {
  const int world_size = groups.all->world_size();
  NW_RETURN_IF_ERROR(CheckRanks(config.batch(), world_size));
  NW_ASSIGN_OR_RETURN(const Device device, DeviceOf(config.device()));
  NW_RETURN_IF_ERROR(CheckKernelsFor(model, device));
  NW_RETURN_IF_ERROR(CheckMemory(config, model, device, world_size));
  return std::unique_ptr<Learner>(new Learner(config, model, device, groups));
}

Learner::Learner(const TrainConfig& config, const ModelConfig& model,
                 Device device, const RankGroups& groups)
    : config_(config),
      groups_(groups),
      sharding_(ShardingOf(config.distributed(), groups.shards->world_size())),
      model_(model),
      parameters_(std::make_unique<Parameters>(model_.NamedParameters(),
                                               DType::kF32, device)),
      reducer_(std::make_unique<GradientReducer>(
          GradientReducer::Options{
              .lanes = config.batch().lanes(),
              .bucket_elements = BucketElements(config.distributed()),
              .result = ReducedGradientsOf(sharding_)},
          parameters_.get(), groups)),
      norm_(parameters_.get(), reducer_.get(), groups.all),
      optimizer_(MakeOptimizer(config.optimizer(), parameters_.get(),
                               UpdatedPieces())) {
  SetNumerics(config);
  if (config.optimizer().stochastic_rounding()) {
    parameters_->RoundStochastically(config.seed());
  }
  if (const auto gradient = QuantizedGradientsOf(config)) {
    scales_ = std::make_unique<layers::DelayedScales>(
        BlockMatrices(*parameters_), *gradient, device);
  }
  if (sharding_ == PARAMETERS) {
    shards_ = std::make_unique<WeightShards>(reducer_->buckets(),
                                             parameters_.get(), groups.shards);
  } else if (config.cuda_graph() && groups.all->world_size() == 1) {
    // Of several ranks, backward passes send gradients while they go on.
    repeated_ = std::make_unique<RepeatedBatch>(
        device, [this](const Batch& batch) { return AddGradients(batch, 0); });
  }
}

Pieces Learner::UpdatedPieces() const {
  return sharding_ == NONE ? std::nullopt : Pieces(reducer_->pieces());
}

Has Learner::has_gradients() const {
  return sharding_ == NONE ? Has::kAll : Has::kPieces;
}

ShardedTensors Learner::Weights() const {
  if (has_whole_weights()) {
    return ShardedTensors(NamedWeights(*parameters_), groups_);
  }
  Moment weights{"", {}};
  for (const FlatRange& piece : reducer_->pieces()) {
    weights.parts.push_back({piece.begin, piece.Of(parameters_->values())});
  }
  return ShardedTensors(*parameters_, {std::move(weights)}, reducer_->buckets(),
                        groups_);
}

ShardedTensors Learner::Moments() const {
  if (sharding_ == NONE) {
    return ShardedTensors(optimizer_->State(), groups_);
  }
  return ShardedTensors(*parameters_, optimizer_->Moments(),
                        reducer_->buckets(), groups_);
}

absl::Status Learner::status() const {
  return shards_ == nullptr ? absl::OkStatus() : shards_->status();
}

absl::Status Learner::Initialize() {
  if (shards_ == nullptr) {
    model_.Initialize(config_.seed());
  } else {
    // A whole model may be more than this rank's memory holds.
    model_.Initialize(config_.seed(), [this](const std::string& name) {
      for (const Parameters::Entry& entry : parameters_->entries()) {
        if (entry.name == name && entry.is_matrix()) shards_->Discard(entry);
      }
    });
  }
  return ResumeAt(0, 0, {});
}

std::vector<float> Learner::expected_factors() const {
  return scales_ == nullptr ? std::vector<float>() : scales_->expected();
}

absl::Status Learner::ResumeAt(int64_t step, uint64_t next_sequence,
                               absl::Span<const float> expected_factors) {
  step_ = step;
  next_sequence_ = next_sequence;
  if (scales_ != nullptr)
    NW_RETURN_IF_ERROR(scales_->Restore(expected_factors));
  CopyWeights(step);
  RoundWeights();
  return shards_ == nullptr ? absl::OkStatus() : shards_->Share();
}

void Learner::CopyWeights(int64_t step) {
  parameters_->ComputeIn(compute_dtype(),
                         has_whole_weights() ? std::nullopt : UpdatedPieces(),
                         step);
}

void Learner::RoundWeights() {
  if (scales_ != nullptr && has_whole_weights()) scales_->RoundWeights();
}

absl::StatusOr<Learner::StepResult> Learner::Step(const BatchReader& read,
                                                  StopAgreement* stop) {
  const trace::Span span("step", "step");
  SetActivityStep(step_ + 1);
  if (shards_ != nullptr) shards_->BeginStep();
  absl::StatusOr<LossSum> loss = SumGradients(read, stop);
  NW_RETURN_IF_ERROR(status());
  NW_RETURN_IF_ERROR(loss.status());
  if (loss->interrupted) return stop->Agree();
  NW_ASSIGN_OR_RETURN(const StepResult result, Update(*loss));
  ++step_;
  next_sequence_ += SequencesPerStep(config_.batch());
  return result;
}

absl::StatusOr<LossSum> Learner::SumGradients(const BatchReader& read,
                                              StopAgreement* stop) {
  const BatchConfig& batch = config_.batch();
  const int64_t lane_sequences =
      int64_t{batch.micro_batches()} * batch.micro_batch();
  // The gradients are zero: at first, and after every update.
  for (int i = 0; i < reducer_->lanes(); ++i) {
    const int64_t first = reducer_->LaneOf(i) * lane_sequences;
    LossSum lane_loss;
    std::vector<Tensor> losses;
    for (int m = 0; m < batch.micro_batches(); ++m) {
      if (stop != nullptr) NW_RETURN_IF_ERROR(stop->Check());
      const bool last = m + 1 == batch.micro_batches();
      const InterruptibleScope scope(stop != nullptr);
      losses.push_back(AddMicroBatch(first + m * batch.micro_batch(), last,
                                     read, &lane_loss.tokens));
      lane_loss.interrupted = lane_loss.interrupted || scope.interrupted();
    }
    const trace::Span span("step", "reduce");
    // Not before: until here the host has not waited for a GPU.
    const ActivityScope activity("backward");
    for (const Tensor& loss : losses) lane_loss.nats += ToScalar<float>(loss);
    reducer_->FinishLane(lane_loss);
  }
  const trace::Span span("step", "reduce");
  return reducer_->Finish();
}

Tensor Learner::AddMicroBatch(int64_t first_in_step, bool last,
                              const BatchReader& read, int64_t* tokens) {
  const Batch batch = ReadBatch(next_sequence_ + first_in_step, read);
  *tokens += batch.CountTargets();
  // What is recorded is a step with scales.
  const bool repeats =
      repeated_ != nullptr && (scales_ == nullptr || scales_->known());
  if (repeats) return repeated_->Run(batch);
  if (last) reducer_->BeforeLastBackward();
  return AddGradients(batch, first_in_step);
}

Tensor Learner::AddGradients(const Batch& batch, int64_t first_in_step) const {
  const Variable loss = Forward(batch, first_in_step);
  const trace::Span span("step", "backward");
  const ActivityScope activity("backward");
  Backward(loss);
  return loss.value();
}

Batch Learner::ReadBatch(uint64_t first, const BatchReader& read) const {
  const trace::Span span("step", "data");
  const ActivityScope activity("data read");
  Batch batch(config_.batch().micro_batch(),
              SequenceLength(config_.batch(), config_.model()),
              config_.data().document_mask());
  read(first, &batch);
  return batch;
}

Variable Learner::Forward(const Batch& batch, int64_t first_in_step) const {
  const trace::Span span("step", "forward");
  const ActivityScope activity("forward");
  layers::ForwardContext context;
  context.dropout = config_.model().dropout();
  context.scales = scales_.get();
  context.random = {.seed = config_.seed(),
                    .step = static_cast<uint64_t>(step_),
                    .sample = static_cast<uint32_t>(first_in_step)};
  return SumLoss(model_, batch, context);
}

absl::StatusOr<Learner::StepResult> Learner::Update(const LossSum& loss) {
  const trace::Span span("step", "update");
  const ActivityScope activity("update");
  // Gradients are those of the sum; the update wants those of the mean.
  const double mean = 1.0 / static_cast<double>(loss.tokens);
  NW_ASSIGN_OR_RETURN(const double sum_norm,
                      norm_.Of(parameters_->gradients(), has_gradients()));
  NW_ASSIGN_OR_RETURN(const std::vector<float> largest, LargestFactors());
  const double norm = sum_norm * mean;
  if (loss.tokens == 0) {
    return absl::DataLossError(
        absl::StrFormat("step %d: no token of its data is predicted: every "
                        "document in it is one token long",
                        step_ + 1));
  }
  const double clip = ClipFactor(norm, config_.optimizer().clip_norm());
  const double learning_rate =
      config_.optimizer().learning_rate() *
      LearningRateFactor(config_.schedule(), config_.steps(), step_);
  StepResult result{loss.nats * mean, norm, learning_rate};
  NW_RETURN_IF_ERROR(FindNotFinite(largest, &result));
  if (result.skipped()) {
    NW_RETURN_IF_ERROR(DropGradients());
  } else {
    optimizer_->Step(step_, learning_rate, clip * mean);
    if (scales_ != nullptr) scales_->Update(largest);
    NW_RETURN_IF_ERROR(ShareWeights());
  }
  RoundWeights();
  return result;
}

// Where the loss is finite, gradients need not be, and would end in weights; of
// factors, what is too large has become the largest number of eight bits.
absl::Status Learner::FindNotFinite(absl::Span<const float> largest,
                                    StepResult* result) const {
  const auto is_bad = [](double x) { return !std::isfinite(x); };
  const auto bad = std::find_if(largest.begin(), largest.end(), is_bad);
  if (is_bad(result->gradient_norm)) {
    result->not_finite = "a gradient";
    NW_ASSIGN_OR_RETURN(
        result->bad_parameter,
        norm_.FirstNotFinite(parameters_->gradients(), has_gradients()));
  } else if (bad != largest.end()) {
    const int64_t factor = bad - largest.begin();
    result->not_finite = scales_->KindOf(factor);
    result->bad_parameter = scales_->LayerOf(factor);
  }
  if (is_bad(result->loss)) result->not_finite = "a loss";
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> Learner::LargestFactors() {
  if (scales_ == nullptr) return std::vector<float>();
  std::vector<float> largest = scales_->TakeLargest();
  const auto n = static_cast<int64_t>(largest.size());
  const int ranks = groups_.all->world_size();
  if (ranks == 1) return largest;
  const Tensor rows = Empty({ranks, n}, DType::kF32);
  const ActivityScope activity("gather", "largest",
                               ActivityKind::kWaitsForOthers);
  NW_RETURN_IF_ERROR(
      groups_.all->Gather(FromVector<float>(largest, {n}), rows, "largest")
          .Wait());
  for (int64_t i = 0; i < rows.numel(); ++i) {
    float& mine = largest[i % n];
    mine = kernels::LargerMagnitude(mine, rows.data<float>()[i]);
  }
  return largest;
}

// As they are after an update.
absl::Status Learner::DropGradients() {
  CopyWeights(step_ + 1);
  if (sharding_ == NONE) {
    parameters_->ZeroGradients();
    return absl::OkStatus();
  }
  Discard(parameters_->gradients());
  return shards_ == nullptr ? absl::OkStatus() : shards_->Share();
}

absl::StatusOr<double> Learner::WeightNorm() const {
  return norm_.Of(parameters_->values(),
                  has_whole_weights() ? Has::kAll : Has::kPieces);
}

// After each rank has updated what it updates.
absl::Status Learner::ShareWeights() {
  if (sharding_ == NONE) return absl::OkStatus();
  Discard(parameters_->gradients());
  if (shards_ != nullptr) return shards_->Share();
  NW_RETURN_IF_ERROR(reducer_->AllGather(parameters_->values()));
  CopyWeights(step_ + 1);
  return absl::OkStatus();
}

}  // namespace nextword

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
#include "autograd/tensor/allocator.h"
#include "configs/batch_config.h"
#include "distributed/device.h"
#include "distributed/rendezvous/activity.h"
#include "distributed/trained_model.h"
#include "layers/model_cost.h"
#include "optim/clip.h"
#include "optim/schedule.h"

namespace nextword {
namespace {

// Refuses what the device's memory cannot hold, before anything is allocated.
absl::Status CheckMemory(const TrainConfig& config, const ModelConfig& model,
                         Device device, int world_size) {
  const layers::TrainMemory need =
      Learner::EstimateMemory(config, model, world_size);
  const int64_t has = AllocatorFor(device).Capacity();
  if (need.total() <= has) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrFormat(
      "training needs about %.1f GB (weights %.1f, gradients %.1f, moments "
      "%.1f, activations %.1f, libraries %.1f, a checkpoint's copy %.1f), this "
      "machine's %s "
      "has %.1f for it; a smaller model, batch.micro_batch or batch.lanes, "
      "model.recompute: BLOCK or checkpoint.asynchronous: false need less",
      need.total() / 1e9, (need.weights + need.rounded) / 1e9,
      need.gradients / 1e9, need.moments / 1e9, need.activations / 1e9,
      need.program / 1e9, need.checkpoint / 1e9, DeviceTypeName(device.type),
      has / 1e9));
}

Sharding ShardingOf(const TrainConfig& config, int world_size) {
  return world_size > 1 ? config.distributed().sharding() : NONE;
}

ReducedGradients ReducedGradientsOf(Sharding sharding) {
  if (sharding == NONE) return ReducedGradients::kWhole;
  return sharding == OPTIMIZER ? ReducedGradients::kPieces
                               : ReducedGradients::kPiecesOnly;
}

// Whether training goes on while a checkpoint is written.
bool CopiesCheckpoints(const TrainConfig& config) {
  const CheckpointConfig& checkpoint = config.checkpoint();
  return checkpoint.asynchronous() && checkpoint.every() > 0 &&
         checkpoint.every() < config.steps();
}

int64_t BucketElements(const TrainConfig& config) {
  return int64_t{config.distributed().bucket_mb()} << 18;
}

// Those that the blocks' linear layers multiply with.
std::vector<Variable> BlockMatrices(const Parameters& parameters) {
  std::vector<Variable> matrices;
  for (const Parameters::Entry& entry : parameters.entries()) {
    if (entry.is_matrix() && absl::StartsWith(entry.name, "blocks.")) {
      matrices.push_back(entry.variable);
    }
  }
  return matrices;
}

}  // namespace

layers::TrainMemory Learner::EstimateMemory(const TrainConfig& config,
                                            const ModelConfig& model,
                                            int world_size) {
  const int lanes = config.batch().lanes() / world_size;
  // Also of a GPU that is not here, for those who plan for one.
  const bool on_host =
      config.device() != CUDA &&
      DeviceOf(config.device()).value_or(Device::Cpu()) == Device::Cpu();
  const int shards =
      world_size == 1 ? 1 : ShardRanks(config.distributed(), world_size);
  const Sharding sharding = ShardingOf(config, shards);
  layers::TrainMemory memory = layers::EstimateTrainMemory(
      model, {.micro_batch = config.batch().micro_batch(),
              .sequence_length = SequenceLength(config.batch(), model),
              .moments = config.optimizer().kind() == SGD ? 1 : 2,
              .hidden_moments = config.optimizer().kind() == ADAMW ? 2 : 1,
              .gradient_buffers = GradientReducer::Buffers(lanes),
              .compute_dtype = ComputeDTypeOf(config),
              .quantized = QuantizedGradientsOf(config).has_value(),
              .rounded_once = sharding != PARAMETERS,
              .on_gpu = !on_host,
              .deterministic = config.deterministic()});
  // The checkpoint's copy is in the host's memory, whatever trains.
  if (on_host && CopiesCheckpoints(config)) {
    memory.checkpoint =
        4 * layers::CountParameters(model).total() + memory.moments;
  }
  if (world_size == 1) return memory;
  // What a bucket's pieces from all ranks take.
  const int64_t bucket = 4 * BucketElements(config);
  const layers::MatrixSizes matrices = layers::LargestMatrices(model);
  if (sharding >= OPTIMIZER) {
    memory.moments /= shards;
    memory.checkpoint /= shards;
  }
  // A GPU keeps the memory that it need not have.
  const bool gives_back = on_host;
  if (sharding >= OPTIMIZER && gives_back) {
    const int64_t all = memory.gradients / GradientReducer::Buffers(lanes);
    const int64_t largest = 4 * matrices.largest;
    // Of a gradient that backward makes at once, buckets go as they are filled,
    // those of vectors last.
    const int64_t vectors = 4 * layers::CountParameters(model).vectors;
    const bool at_once = config.batch().micro_batches() == 1;
    const int64_t filling =
        at_once ? std::min(all, (all - largest) / shards + largest + vectors +
                                    2 * bucket)
                : all;
    if (sharding >= GRADIENTS) {
      // Sums over lanes wait as pieces.
      memory.gradients =
          (GradientReducer::Buffers(lanes) - 1) * all / shards + filling;
    } else if (lanes == 1) {
      memory.gradients = filling;
    }
    // The loss keeps a gradient of the head, which is gone by then.
    if (sharding >= GRADIENTS && at_once) {
      memory.activations -=
          int64_t{4} * model.vocab_size() * model.hidden_size();
    }
  }
  if (sharding >= PARAMETERS && gives_back) {
    const int64_t width = ComputeDTypeOf(config) == DType::kBF16 ? 2 : 4;
    memory.weights =
        std::min(memory.weights,
                 memory.weights / shards +
                     width * matrices.SumOfLargest(WeightShards::kMatrices));
  }
  memory.gradients += bucket;
  return memory;
}

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
      sharding_(ShardingOf(config, groups.shards->world_size())),
      model_(model),
      parameters_(std::make_unique<Parameters>(model_.NamedParameters(),
                                               DType::kF32, device)),
      reducer_(std::make_unique<GradientReducer>(
          GradientReducer::Options{.lanes = config.batch().lanes(),
                                   .bucket_elements = BucketElements(config),
                                   .result = ReducedGradientsOf(sharding_)},
          parameters_.get(), groups)),
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

absl::Duration Learner::waited() const {
  return reducer_->waited() +
         (shards_ == nullptr ? absl::ZeroDuration() : shards_->waited());
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
  return ResumeAt(0, 0);
}

std::vector<float> Learner::expected() const {
  return scales_ == nullptr ? std::vector<float>() : scales_->expected();
}

absl::Status Learner::ResumeAt(int64_t step, uint64_t next_sequence,
                               absl::Span<const float> expected) {
  step_ = step;
  next_sequence_ = next_sequence;
  if (scales_ != nullptr) NW_RETURN_IF_ERROR(scales_->Restore(expected));
  RoundWeights(step);
  return shards_ == nullptr ? absl::OkStatus() : shards_->Share();
}

void Learner::RoundWeights(int64_t step) {
  parameters_->ComputeIn(compute_dtype(),
                         has_whole_weights() ? std::nullopt : UpdatedPieces(),
                         step);
}

absl::StatusOr<Learner::StepResult> Learner::Step(const BatchReader& read,
                                                  StopAgreement* stop) {
  const trace::Span span("step", "step");
  SetActivityStep(step_ + 1);
  if (shards_ != nullptr) shards_->BeginStep();
  if (scales_ != nullptr && has_whole_weights()) scales_->RoundWeights();
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
                      Norm(parameters_->gradients(), sharding_ != NONE));
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
  // Where the loss is finite, gradients need not be, and would end in weights.
  const auto is_finite = [](double x) { return std::isfinite(x); };
  // Of factors, what is too large has become the largest of eight bits.
  if (!is_finite(loss.nats) || !is_finite(norm) ||
      !std::all_of(largest.begin(), largest.end(), is_finite)) {
    result.skipped = true;
    NW_ASSIGN_OR_RETURN(result.bad_parameter, FindBadGradient());
    NW_RETURN_IF_ERROR(DropGradients());
    return result;
  }
  optimizer_->Step(step_, learning_rate, clip * mean);
  if (scales_ != nullptr) scales_->Update(largest);
  NW_RETURN_IF_ERROR(ShareWeights());
  return result;
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

// The sums of squares of the chunks of a flat buffer, of which this rank has
// all or its pieces.
absl::StatusOr<Tensor> Learner::Squares(const Tensor& flat, bool pieces) const {
  if (!pieces) return SquaresOf(flat);
  const int64_t chunk = kernels::kSquaresChunk;
  Tensor squares =
      Zeros({(flat.numel() + chunk - 1) / chunk}, DType::kF64, flat.device());
  for (const FlatRange& piece : reducer_->pieces()) {
    const Tensor mine = SquaresOf(piece.Of(flat));
    Tensor place = squares.View(piece.begin / chunk, {mine.numel()});
    kernels::copy(mine, &place);
  }
  NW_RETURN_IF_ERROR(reducer_->Complete(squares));
  return squares;
}

absl::StatusOr<double> Learner::Norm(const Tensor& flat, bool pieces) const {
  NW_ASSIGN_OR_RETURN(const Tensor squares, Squares(flat, pieces));
  return NormOf(squares);
}

absl::StatusOr<std::string> Learner::FindBadGradient() const {
  const Tensor& gradients = parameters_->gradients();
  NW_ASSIGN_OR_RETURN(const Tensor squares,
                      Squares(gradients, sharding_ != NONE));
  const std::vector<double> sums = ToVector<double>(squares);
  const auto is_bad = [](double x) { return !std::isfinite(x); };
  const auto bad = std::find_if(sums.begin(), sums.end(), is_bad);
  if (bad == sums.end()) return std::string();
  // Elements of the chunk, on the rank that has it.
  const int64_t begin = (bad - sums.begin()) * kernels::kSquaresChunk;
  const FlatRange chunk{
      begin, std::min(begin + kernels::kSquaresChunk, gradients.numel())};
  int64_t first = gradients.numel();
  const std::vector<FlatRange> all = {{0, gradients.numel()}};
  for (const FlatRange& piece : UpdatedPieces().value_or(all)) {
    const FlatRange part = Overlap(piece, chunk);
    if (part.size() == 0) continue;
    const std::vector<float> values = ToVector<float>(part.Of(gradients));
    const auto found = std::find_if(values.begin(), values.end(), is_bad);
    if (found != values.end()) first = part.begin + (found - values.begin());
  }
  const Tensor mine = Zeros({1}, DType::kF64);
  *mine.data<double>() = static_cast<double>(first);
  const Tensor rows = Empty({groups_.all->world_size(), 1}, DType::kF64);
  NW_RETURN_IF_ERROR(groups_.all->Gather(mine, rows, "bad gradient").Wait());
  const std::vector<double> firsts = ToVector<double>(rows);
  first = static_cast<int64_t>(*std::min_element(firsts.begin(), firsts.end()));
  for (const Parameters::Entry& entry : parameters_->entries()) {
    if (first < entry.range().end) return entry.name;
  }
  return std::string();
}

// As they are after an update.
absl::Status Learner::DropGradients() {
  RoundWeights(step_ + 1);
  if (sharding_ == NONE) {
    parameters_->ZeroGradients();
    return absl::OkStatus();
  }
  Discard(parameters_->gradients());
  return shards_ == nullptr ? absl::OkStatus() : shards_->Share();
}

absl::StatusOr<double> Learner::WeightNorm() const {
  return Norm(parameters_->values(), !has_whole_weights());
}

// After each rank has updated what it updates.
absl::Status Learner::ShareWeights() {
  if (sharding_ == NONE) return absl::OkStatus();
  Discard(parameters_->gradients());
  if (shards_ != nullptr) return shards_->Share();
  NW_RETURN_IF_ERROR(reducer_->AllGather(parameters_->values()));
  RoundWeights(step_ + 1);
  return absl::OkStatus();
}

}  // namespace nextword

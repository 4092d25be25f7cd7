#include "distributed/train_memory.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_format.h"
#include "autograd/tensor/allocator.h"
#include "configs/batch_config.h"
#include "distributed/compute_dtype.h"
#include "distributed/device.h"
#include "distributed/gradient_reducer.h"
#include "distributed/weight_shards.h"

namespace nextword {
namespace {

// Whether training goes on while a checkpoint is written.
bool CopiesCheckpoints(const TrainConfig& config) {
  const CheckpointConfig& checkpoint = config.checkpoint();
  return checkpoint.asynchronous() && checkpoint.every() > 0 &&
         checkpoint.every() < config.steps();
}

}  // namespace

layers::TrainMemory EstimateRankMemory(const TrainConfig& config,
                                       const ModelConfig& model,
                                       int world_size) {
  const int lanes = config.batch().lanes() / world_size;
  // Also of a GPU that is not here, for those who plan for one.
  const bool on_host =
      config.device() != CUDA &&
      DeviceOf(config.device()).value_or(Device::Cpu()) == Device::Cpu();
  const int shards =
      world_size == 1 ? 1 : ShardRanks(config.distributed(), world_size);
  const Sharding sharding = ShardingOf(config.distributed(), shards);
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
  const int64_t bucket = 4 * BucketElements(config.distributed());
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

absl::Status CheckMemory(const TrainConfig& config, const ModelConfig& model,
                         Device device, int world_size) {
  const layers::TrainMemory need =
      EstimateRankMemory(config, model, world_size);
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

}  // namespace nextword

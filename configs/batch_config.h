// Sizes that follow from a batch's config. Pure functions of a config that
// ValidateTrainConfig has accepted; thread-safe.
#ifndef NEXTWORD_CONFIGS_BATCH_CONFIG_H_
#define NEXTWORD_CONFIGS_BATCH_CONFIG_H_

#include <cstdint>

#include "absl/status/status.h"
#include "configs/train_config.pb.h"

namespace nextword {

// Tokens of one sequence: sequence_length, or the model's context when 0.
inline int64_t SequenceLength(const BatchConfig& batch,
                              const ModelConfig& model) {
  return batch.sequence_length() > 0 ? batch.sequence_length()
                                     : model.context_length();
}

// Sequences that one optimizer step consumes.
inline int64_t SequencesPerStep(const BatchConfig& batch) {
  return int64_t{batch.lanes()} * batch.micro_batches() * batch.micro_batch();
}

// Tokens that one optimizer step consumes.
inline int64_t TokensPerStep(const BatchConfig& batch,
                             const ModelConfig& model) {
  return SequencesPerStep(batch) * SequenceLength(batch, model);
}

// Whether `ranks` ranks can divide the lanes of a step: ranks are a power of
// two, as lanes are, and not more. The error names batch.lanes.
absl::Status CheckRanks(const BatchConfig& batch, int ranks);

// What `ranks` ranks divide among them: nothing if there is one.
inline Sharding ShardingOf(const DistributedConfig& distributed, int ranks) {
  return ranks > 1 ? distributed.sharding() : NONE;
}

// Elements of the f32 gradients that are sent at once.
inline int64_t BucketElements(const DistributedConfig& distributed) {
  return int64_t{distributed.bucket_mb()} << 18;
}

// Ranks, of `ranks`, that divide among them what is sharded.
inline int ShardRanks(const DistributedConfig& distributed, int ranks) {
  return distributed.shard_ranks() > 0 ? distributed.shard_ranks() : ranks;
}

// Whether groups of shard_ranks make up `ranks` ranks, where that matters.
absl::Status CheckShardRanks(const DistributedConfig& distributed, int ranks);

}  // namespace nextword

#endif  // NEXTWORD_CONFIGS_BATCH_CONFIG_H_

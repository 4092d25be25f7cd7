#include "configs/batch_config.h"

#include <bit>

#include "absl/strings/str_cat.h"

namespace nextword {

absl::Status CheckShardRanks(const DistributedConfig& distributed, int ranks) {
  const int shards = ShardRanks(distributed, ranks);
  if (ranks == 1 || distributed.sharding() == NONE) return absl::OkStatus();
  if (std::has_single_bit(static_cast<unsigned>(shards)) &&
      ranks % shards == 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "distributed.shard_ranks: is ", shards, ", and the job has ", ranks,
      " ranks; wanted a power of two that divides them, or 0 for all"));
}

absl::Status CheckRanks(const BatchConfig& batch, int ranks) {
  if (ranks > 0 && std::has_single_bit(static_cast<unsigned>(ranks)) &&
      ranks <= batch.lanes()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "batch.lanes: is ", batch.lanes(), ", and the job has ", ranks,
      " ranks; wanted ranks that are a power of two and at most as many as "
      "lanes, which they divide"));
}

}  // namespace nextword

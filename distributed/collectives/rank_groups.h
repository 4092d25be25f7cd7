// The ranks that a rank works with.
#ifndef NEXTWORD_DISTRIBUTED_COLLECTIVES_RANK_GROUPS_H_
#define NEXTWORD_DISTRIBUTED_COLLECTIVES_RANK_GROUPS_H_

#include "distributed/collectives/communicator.h"

namespace nextword {

// A value; the communicators outlive it.
struct RankGroups {
  // All ranks divide among them what is sharded.
  RankGroups(Communicator* all) : all(all), shards(all) {}
  // Those of `shards` do; there are several such groups of neighbouring ranks,
  // and ReduceScatter of `shards` adds up over all of them (AddReplicas).
  RankGroups(Communicator* all, Communicator* shards)
      : all(all), shards(shards) {}

  Communicator* all;
  Communicator* shards;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COLLECTIVES_RANK_GROUPS_H_

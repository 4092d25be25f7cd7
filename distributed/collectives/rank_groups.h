// The ranks that a rank works with.
#ifndef NEXTWORD_DISTRIBUTED_COLLECTIVES_RANK_GROUPS_H_
#define NEXTWORD_DISTRIBUTED_COLLECTIVES_RANK_GROUPS_H_

#include "distributed/collectives/communicator.h"

namespace nextword {

// A value; the communicators outlive it.
struct RankGroups {
  // All ranks divide among them what is sharded.
  RankGroups(Communicator* all) : RankGroups(all, all) {}
  // Those of `shards` do; there are several such groups of neighbouring ranks,
  // and ReduceScatter of `shards` adds up over all of them (AddReplicas).
  RankGroups(Communicator* all, Communicator* shards,
             Communicator* background = nullptr)
      : all(all), shards(shards), background(background) {}

  Communicator* all;
  Communicator* shards;
  // The ranks of the lead's `shards` once more, on the CPU, for what goes on
  // while they train. Null where nothing is sharded.
  Communicator* background;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COLLECTIVES_RANK_GROUPS_H_

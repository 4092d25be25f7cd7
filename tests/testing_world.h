// A world of ranks in one process, for tests: each is a thread, and they talk
// over real connections on the loopback interface.
#ifndef NEXTWORD_TESTS_TESTING_WORLD_H_
#define NEXTWORD_TESTS_TESTING_WORLD_H_

#include <functional>

#include "absl/time/time.h"
#include "distributed/collectives/rank_groups.h"

namespace nextword {

struct WorldOptions {
  absl::Duration timeout = absl::Seconds(30);  // Of a collective.
};

// Calls body on `ranks` threads, each with its own communicator, which closes
// when its body returns. One rank gets Alone().
void InWorld(int ranks, const std::function<void(Communicator*)>& body,
             const WorldOptions& options = {});
void InGroups(int ranks, int shard_ranks,
              const std::function<void(const RankGroups&)>& body,
              const WorldOptions& options = {});

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_WORLD_H_

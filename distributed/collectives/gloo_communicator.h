// Collectives between processes on CPUs, over TCP, by Gloo.
#ifndef NEXTWORD_DISTRIBUTED_COLLECTIVES_GLOO_COMMUNICATOR_H_
#define NEXTWORD_DISTRIBUTED_COLLECTIVES_GLOO_COMMUNICATOR_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "distributed/collectives/communicator.h"
#include "distributed/collectives/key_value_store.h"

namespace nextword {

struct GlooOptions {
  int rank = 0;
  int world_size = 1;
  // The address of this machine that the others reach; it listens there only,
  // on ports that the system chooses.
  std::string address = "127.0.0.1";
  // Within which all ranks must be connected.
  absl::Duration start_timeout = absl::Minutes(10);
  // Of each collective, from when this rank starts it.
  absl::Duration timeout = absl::Minutes(10);
};

// Connects every rank with every other; addresses are exchanged through
// `store`, which is only used here. For tensors on the CPU. Errors: a rank that
// cannot be reached, or does not come in time.
absl::StatusOr<std::unique_ptr<Communicator>> GlooCommunicator(
    const GlooOptions& options, KeyValueStore* store);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COLLECTIVES_GLOO_COMMUNICATOR_H_

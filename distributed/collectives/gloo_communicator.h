// Collectives between processes on CPUs, over TCP, by Gloo.
#ifndef NEXTWORD_DISTRIBUTED_COLLECTIVES_GLOO_COMMUNICATOR_H_
#define NEXTWORD_DISTRIBUTED_COLLECTIVES_GLOO_COMMUNICATOR_H_

#include <memory>

#include "absl/status/statusor.h"
#include "distributed/collectives/communicator.h"
#include "distributed/collectives/connect.h"
#include "distributed/collectives/key_value_store.h"

namespace nextword {

// For tensors on the CPU. See Connect.
absl::StatusOr<std::unique_ptr<Communicator>> ConnectByGloo(
    const ConnectOptions& options, KeyValueStore* store);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COLLECTIVES_GLOO_COMMUNICATOR_H_

// From processes that can leave each other notes to a communicator.
#ifndef NEXTWORD_DISTRIBUTED_COLLECTIVES_CONNECT_H_
#define NEXTWORD_DISTRIBUTED_COLLECTIVES_CONNECT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "autograd/tensor/device.h"
#include "distributed/collectives/communicator.h"
#include "distributed/collectives/key_value_store.h"

namespace nextword {

struct ConnectOptions {
  // Of this rank in the group that is to be connected. A rank may be in several
  // groups, of different names.
  int rank = 0;
  int world_size = 1;
  std::string group = "all";
  // Where the tensors are: Gloo connects CPUs, NCCL GPUs.
  Device device = Device::Cpu();
  // The address of this machine that the others reach. Gloo listens there only,
  // on ports that the system chooses.
  std::string address = "127.0.0.1";
  // Within which all ranks must be connected.
  absl::Duration start_timeout = absl::Minutes(10);
  // Of each collective, from when this rank starts it.
  absl::Duration timeout = absl::Minutes(10);
};

// Connects every rank with every other; they find each other through `store`,
// which is only used here. Errors: a rank that cannot be reached, or does not
// come in time; a library that this machine lacks.
absl::StatusOr<std::unique_ptr<Communicator>> Connect(
    const ConnectOptions& options, KeyValueStore* store);

using Connector = std::function<absl::StatusOr<std::unique_ptr<Communicator>>(
    const ConnectOptions&, KeyValueStore*)>;

// Called while the program starts by the libraries of devices other than the
// CPU. Returns true, so that it can initialise a static variable.
bool RegisterConnector(DeviceType type, const Connector& connect);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COLLECTIVES_CONNECT_H_

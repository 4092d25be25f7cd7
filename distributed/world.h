// The world: all the processes of a training job, and this one's place in it.
//
// `nextword launch` and torchrun-like launchers say in the environment which
// rank a process is. It then joins the job's rendezvous, connects with the
// other ranks, and is watched over: when the job is aborted because another
// rank failed, this process ends, wherever it is, with exit code 75, which
// launchers take for "start me again". Without those variables a process is a
// world of its own, and none of that happens.
#ifndef NEXTWORD_DISTRIBUTED_WORLD_H_
#define NEXTWORD_DISTRIBUTED_WORLD_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "configs/train_config.pb.h"
#include "distributed/collectives/communicator.h"

namespace nextword {

// The exit code of a process that ends because of others: EX_TEMPFAIL.
inline constexpr int kAbortedExitCode = 75;

// What the environment says of this process.
struct Place {
  int rank = 0;
  int world_size = 1;
  int local_rank = 0;  // Among the processes of this machine.
  int local_world_size = 1;
  // HOST:PORT of the coordinator, and whether this process is to be it.
  std::string coordinator;
  bool hosts_coordinator = false;
  std::string run_id;
  std::string token;
  std::string tls_ca_file;  // Empty: no TLS.
};

// The value of a variable; nothing when it is not set.
using Environment =
    std::function<std::optional<std::string>(const std::string& name)>;
std::optional<std::string> ProcessEnvironment(const std::string& name);

// Reads RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and
// MASTER_PORT as torchrun sets them, and NEXTWORD_COORDINATOR, _RUN_ID, _TOKEN
// and _TLS_CA. A world of one when WORLD_SIZE is not set or 1. Error: one that is
// missing, no number or out of range, by name.
absl::StatusOr<Place> PlaceFrom(const Environment& environment);

// Not thread-safe.
class World {
 public:
  // Returns when all ranks are there and connected. `config` must be the same
  // on all, but for what may differ between machines (threads). Errors: what
  // RendezvousClient::Join and the collectives' library say.
  static absl::StatusOr<std::unique_ptr<World>> Join(const Place& place,
                                                     const TrainConfig& config);

  // Without Leave before, the others take this rank for dead.
  virtual ~World() = default;

  virtual Communicator* communicator() = 0;

  // Ends this rank's part of the job, which ended with `outcome`: tells the
  // others when it is an error of this rank. Returns it. Does not return when
  // it is the error of another rank.
  virtual absl::Status Leave(absl::Status outcome) = 0;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_WORLD_H_

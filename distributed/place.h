// A process's place in its world, as its launcher tells it.
#ifndef NEXTWORD_DISTRIBUTED_PLACE_H_
#define NEXTWORD_DISTRIBUTED_PLACE_H_

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace nextword {

// The environment's name of the second, since 1970, in which the job's launcher
// was started.
inline constexpr char kStartedAtVariable[] = "NEXTWORD_STARTED_AT";

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
// and _TLS_CA. A world of one when WORLD_SIZE is not set or 1. Error: one that
// is missing, no number or out of range, by name.
absl::StatusOr<Place> PlaceFrom(const Environment& environment);

// Variables for a process that computes on a GPU, to be set before it looks for
// one: ranks of one machine take its GPUs in turn, and each sees its own only.
// `gpus` are those of the machine by name or number, those of
// CUDA_VISIBLE_DEVICES if that is set, else "0", "1", ...; empty: there is none
// to choose. Ranks that share a GPU tell NCCL that they are different hosts, or
// it would refuse them.
std::map<std::string, std::string> GpuVariables(
    const Place& place, const std::vector<std::string>& gpus);

// Of this machine, as above, without asking the driver.
std::vector<std::string> VisibleGpus(const Environment& environment);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_PLACE_H_

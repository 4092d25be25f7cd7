#include "tools/commands/join_world.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "autograd/base/parallel.h"
#include "autograd/base/status.h"

namespace nextword {

absl::StatusOr<std::unique_ptr<World>> JoinWorld(const TrainConfig& config) {
  NW_ASSIGN_OR_RETURN(const Place place, PlaceFrom(ProcessEnvironment));
  // A rank that was bound to some processors has its share already.
  const bool has_all = NumThreads() == sysconf(_SC_NPROCESSORS_ONLN);
  if (config.threads() == 0 && place.local_world_size > 1 && has_all) {
    SetNumThreads(std::max(1, NumThreads() / place.local_world_size));
  }
  if (config.device() != CPU) {
    for (const auto& [name, value] :
         GpuVariables(place, VisibleGpus(ProcessEnvironment))) {
      setenv(name.c_str(), value.c_str(), /*overwrite=*/1);
    }
  }
  return World::Join(place, config);
}

}  // namespace nextword

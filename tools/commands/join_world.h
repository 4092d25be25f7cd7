// How subcommands that may run as several processes find the others.
#ifndef NEXTWORD_TOOLS_COMMANDS_JOIN_WORLD_H_
#define NEXTWORD_TOOLS_COMMANDS_JOIN_WORLD_H_

#include <memory>

#include "absl/status/statusor.h"
#include "configs/train_config.pb.h"
#include "distributed/world.h"

namespace nextword {

// Joins the world that the environment tells of. The ranks of one machine
// divide its processors, unless `config` has a number of threads.
absl::StatusOr<std::unique_ptr<World>> JoinWorld(const TrainConfig& config);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_JOIN_WORLD_H_

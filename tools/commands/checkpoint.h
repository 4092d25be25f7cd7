// `nextword checkpoint`: what checkpoints a run has, whether they are whole,
// what is in them, and removing old ones.
#ifndef NEXTWORD_TOOLS_COMMANDS_CHECKPOINT_H_
#define NEXTWORD_TOOLS_COMMANDS_CHECKPOINT_H_

#include "CLI/CLI.hpp"
#include "absl/status/status.h"

namespace nextword {

// Adds the command to `app`. When it runs, it leaves its result in `*status`,
// which must outlive `app`.
void AddCheckpointCommand(CLI::App& app, absl::Status* status);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_CHECKPOINT_H_

// `nextword train`.
#ifndef NEXTWORD_TOOLS_COMMANDS_TRAIN_H_
#define NEXTWORD_TOOLS_COMMANDS_TRAIN_H_

#include "CLI/CLI.hpp"
#include "absl/status/status.h"

namespace nextword {

// Adds the command to `app`. When it runs, it leaves its result in `*status`,
// and in `*exit_code` that of success; both must outlive `app`.
void AddTrainCommand(CLI::App& app, absl::Status* status, int* exit_code);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_TRAIN_H_

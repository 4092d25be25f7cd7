// `nextword coordinator`: the server that the ranks of a job meet at.
#ifndef NEXTWORD_TOOLS_COMMANDS_COORDINATOR_H_
#define NEXTWORD_TOOLS_COMMANDS_COORDINATOR_H_

#include "CLI/CLI.hpp"
#include "absl/status/status.h"

namespace nextword {

// Adds the command to `app`, whose help does not show it: `nextword launch`
// starts it. When it runs, it leaves its result in `*status` and `*exit_code`,
// which must outlive `app`.
void AddCoordinatorCommand(CLI::App& app, absl::Status* status, int* exit_code);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_COORDINATOR_H_

// `nextword launch`.
#ifndef NEXTWORD_TOOLS_COMMANDS_LAUNCH_H_
#define NEXTWORD_TOOLS_COMMANDS_LAUNCH_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"

namespace nextword {

// For `nextword launch ... -- COMMAND ...`: cuts the command line before "--"
// and returns what is after it, which no parser of options may touch. Of other
// command lines, nothing.
std::vector<std::string> CutLaunchedCommand(int* argc, char** argv);

// Adds the command to `app`; `launched` is what each rank is to run. When it
// runs, it leaves its result in `*status` and, if that is OK, `*exit_code`;
// both must outlive `app`.
void AddLaunchCommand(CLI::App& app, const std::vector<std::string>& launched,
                      absl::Status* status, int* exit_code);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_LAUNCH_H_

// `nextword bench`.
#ifndef NEXTWORD_TOOLS_COMMANDS_BENCH_H_
#define NEXTWORD_TOOLS_COMMANDS_BENCH_H_

#include "CLI/CLI.hpp"
#include "absl/status/status.h"

namespace nextword {

// Adds the command to `app`. When it runs, it leaves its result in `*status`,
// which must outlive `app`.
void AddBenchCommand(CLI::App& app, absl::Status* status);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_BENCH_H_

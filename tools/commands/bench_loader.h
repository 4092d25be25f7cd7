// `nextword bench --what loader`: batches out of token files.
#ifndef NEXTWORD_TOOLS_COMMANDS_BENCH_LOADER_H_
#define NEXTWORD_TOOLS_COMMANDS_BENCH_LOADER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "tools/commands/bench_report.h"

namespace nextword {

// Batches of 8 sequences of 1,024 tokens, in the order of training, out of a
// token file of about `bytes` bytes that is made in a temporary folder and read
// from the system's cache. Error: the disk's; fewer than 1,025 tokens.
absl::StatusOr<BenchReport> BenchLoader(int64_t bytes, double seconds);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_BENCH_LOADER_H_

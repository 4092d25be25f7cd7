// `nextword bench --what step`: whole training steps.
#ifndef NEXTWORD_TOOLS_COMMANDS_BENCH_STEP_H_
#define NEXTWORD_TOOLS_COMMANDS_BENCH_STEP_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "configs/train_config.pb.h"
#include "distributed/collectives/rank_groups.h"
#include "tools/commands/bench_report.h"

namespace nextword {

struct StepBenchOptions {
  int64_t steps = 5;
  int64_t warmup = 2;         // Steps before those.
  double peak_seconds = 0.5;  // To measure the matmul peak for.
};

// Steps of `config`, which is valid, through the code that training runs, on
// random ids. All ranks take part; that of rank 0 has the report, of the job
// as a whole and of what rank 0 itself did, the others have an empty one.
// Errors: there is no such model, or no memory for it.
absl::StatusOr<BenchReport> BenchStep(const TrainConfig& config,
                                      const StepBenchOptions& options,
                                      const RankGroups& groups);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_BENCH_STEP_H_

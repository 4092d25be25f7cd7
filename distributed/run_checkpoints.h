// The checkpoints of a run: which to resume from, which to remove.
// One writer per run; reading is thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RUN_CHECKPOINTS_H_
#define NEXTWORD_DISTRIBUTED_RUN_CHECKPOINTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "distributed/checkpoint.h"

namespace nextword {

// Steps of the folders RUN/checkpoints/step-N, ascending; their contents are
// not looked at. Empty when the run has none.
absl::StatusOr<std::vector<int64_t>> CheckpointSteps(
    const std::string& run_dir);

// The newest checkpoint of the run that is whole; nothing when there is none
// at all. Damaged ones that are newer are named in the log with the reason.
// Error: there are checkpoints, and all are damaged.
absl::StatusOr<std::optional<Checkpoint>> FindLatestCheckpoint(
    const std::string& run_dir);

// The checkpoint at `path`, a checkpoint's folder or that of a run, which
// stands for its newest. Error: there is none.
absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& path);

// What `--resume` means for a run:
//   auto  the newest whole checkpoint; a fresh start when there is none at all
//   auto:PATH  the same, but PATH when there is none
//   none  a fresh start; an error when the run has checkpoints, which it would
//         mix with its own
//   PATH  OpenCheckpoint(PATH)
// Nothing stands for a fresh start.
absl::StatusOr<std::optional<Checkpoint>> ResumeFrom(
    const std::string& resume, const std::string& run_dir);

// Removes all but the newest `keep` checkpoints up to `step`, the one that was
// just written; 0 keeps all. Those without a whole manifest neither count nor
// go, and later ones (of a history that the run has left) stay.
absl::Status PruneCheckpoints(const std::string& run_dir, int64_t step,
                              int keep);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_RUN_CHECKPOINTS_H_

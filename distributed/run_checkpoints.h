// The checkpoints of a run: which to resume from, which to remove.
// One writer per run; reading is thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RUN_CHECKPOINTS_H_
#define NEXTWORD_DISTRIBUTED_RUN_CHECKPOINTS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "configs/train_config.pb.h"
#include "distributed/checkpoint.h"

namespace nextword {

// Steps of the folders RUN/checkpoints/step-N, ascending; their contents are
// not looked at. Empty when the run has none.
absl::StatusOr<std::vector<int64_t>> CheckpointSteps(
    const std::string& run_dir);

// A checkpoint that cannot be used: a file of it is missing or not as it was
// written.
struct DamagedCheckpoint {
  std::string directory;
  std::string reason;
};

// The newest checkpoint of the run that is whole; nothing when there is none
// at all. Damaged ones that are newer are named in the log with the reason, and
// added to `damaged` unless it is null. Errors: there are checkpoints, and all
// are damaged; or one cannot be read for another reason, such as a disk that
// fails, and to go on from an older one would lose what it has.
absl::StatusOr<std::optional<Checkpoint>> FindLatestCheckpoint(
    const std::string& run_dir,
    std::vector<DamagedCheckpoint>* damaged = nullptr);

// Gives it a name that is no checkpoint's, damaged-step-N, and says so in the
// log: what is left of it is the user's to look at.
absl::Status SetAside(const DamagedCheckpoint& damaged);

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
    const std::string& resume, const std::string& run_dir,
    std::vector<DamagedCheckpoint>* damaged = nullptr);

// The newest checkpoint before `step` of a step that `every` divides; nothing
// when there is none. Which one does not depend on where the run was
// interrupted, as checkpoints that were saved then are not scheduled.
absl::StatusOr<std::optional<Checkpoint>> NewestScheduledBefore(
    const std::string& run_dir, int64_t step, int64_t every);

// Removes the checkpoints of later steps: of a history that the run has left.
absl::Status RemoveCheckpointsAfter(const std::string& run_dir, int64_t step);

// Which checkpoints are kept (CheckpointConfig).
struct Retention {
  int64_t every = 0;  // Divides scheduled steps; 0: all are scheduled.
  int keep = 0;
  int64_t keep_every = 0;
  int keep_best = 0;
};
Retention RetentionOf(const CheckpointConfig& config);

// What retention needs to know of a checkpoint.
struct SavedStep {
  int64_t step = 0;
  std::string held_out_fingerprint = {};  // Of what it was evaluated on.
  std::optional<double> held_out_loss = {};
};

// Those of `saved`, ascending, that are kept, and why: "newest", "step 1000",
// "held-out loss". Kept are the newest of all; of the scheduled ones the newest
// `keep`, so that where a run was interrupted does not change which of them
// there are; multiples of keep_every; and the keep_best of lowest loss on what
// was held out last, the newer of two that are equal.
std::map<int64_t, std::string> KeptSteps(absl::Span<const SavedStep> saved,
                                         const Retention& retention);

// Those up to `step` of the run, by their manifests. Others are damaged.
absl::StatusOr<std::vector<SavedStep>> SavedSteps(const std::string& run_dir,
                                                  int64_t step);

// Removes what is not kept of the checkpoints up to `step`, the one that was
// just written. Those without a whole manifest neither count nor go, and later
// ones (of a history that the run has left) stay.
absl::Status PruneCheckpoints(const std::string& run_dir, int64_t step,
                              const Retention& retention);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_RUN_CHECKPOINTS_H_

#include "distributed/run_checkpoints.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "autograd/base/directory.h"
#include "autograd/base/log.h"
#include "autograd/base/status.h"
#include "distributed/manifest.h"

namespace nextword {

absl::StatusOr<std::vector<int64_t>> CheckpointSteps(
    const std::string& run_dir) {
  const std::string checkpoints = CheckpointsDirectory(run_dir);
  std::vector<int64_t> steps;
  if (!IsDirectory(checkpoints)) return steps;
  NW_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                      ListDirectory(checkpoints));
  for (const std::string& name : names) {
    int64_t step;
    absl::string_view digits = name;
    if (!absl::ConsumePrefix(&digits, "step-")) continue;
    if (!absl::SimpleAtoi(digits, &step) || step < 0) continue;
    // Only names as we write them: no "step-1" beside "step-00000001".
    if (CheckpointDirectory(run_dir, step) ==
        absl::StrCat(checkpoints, "/", name)) {
      steps.push_back(step);
    }
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

absl::StatusOr<std::optional<Checkpoint>> FindLatestCheckpoint(
    const std::string& run_dir) {
  NW_ASSIGN_OR_RETURN(std::vector<int64_t> steps, CheckpointSteps(run_dir));
  std::reverse(steps.begin(), steps.end());
  std::vector<std::string> reasons;
  for (int64_t step : steps) {
    absl::StatusOr<Checkpoint> checkpoint =
        Checkpoint::Open(CheckpointDirectory(run_dir, step));
    if (checkpoint.ok()) {
      return std::optional<Checkpoint>(*std::move(checkpoint));
    }
    reasons.emplace_back(checkpoint.status().message());
    Log::warn("checkpoint of step {} passed over: {}", step, reasons.back());
  }
  if (reasons.empty()) return std::optional<Checkpoint>();
  return absl::DataLossError(absl::StrCat(
      CheckpointsDirectory(run_dir), ": has checkpoints, but none is whole\n",
      absl::StrJoin(reasons, "\n")));
}

absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& path) {
  if (!IsDirectory(path)) {
    return absl::NotFoundError(absl::StrCat(
        path, ": is no folder, wanted that of a checkpoint or of a run"));
  }
  if (!IsDirectory(CheckpointsDirectory(path))) return Checkpoint::Open(path);
  NW_ASSIGN_OR_RETURN(std::optional<Checkpoint> latest,
                      FindLatestCheckpoint(path));
  if (latest.has_value()) return *std::move(latest);
  return absl::NotFoundError(
      absl::StrCat(CheckpointsDirectory(path), ": has no checkpoint"));
}

absl::StatusOr<std::optional<Checkpoint>> ResumeFrom(
    const std::string& resume, const std::string& run_dir) {
  absl::string_view path = resume;
  const bool has_other = absl::ConsumePrefix(&path, "auto:");
  if (resume == "auto" || has_other) {
    NW_ASSIGN_OR_RETURN(std::optional<Checkpoint> latest,
                        FindLatestCheckpoint(run_dir));
    if (latest.has_value() || !has_other) return latest;
    return ResumeFrom(std::string(path), run_dir);
  }
  if (resume != "none") {
    NW_ASSIGN_OR_RETURN(Checkpoint checkpoint, OpenCheckpoint(resume));
    return std::optional<Checkpoint>(std::move(checkpoint));
  }
  NW_ASSIGN_OR_RETURN(const std::vector<int64_t> steps,
                      CheckpointSteps(run_dir));
  if (steps.empty()) return std::optional<Checkpoint>();
  return absl::FailedPreconditionError(absl::StrCat(
      CheckpointsDirectory(run_dir), ": has checkpoints, the newest of step ",
      steps.back(),
      ": a fresh start (--resume none) wants an empty one; go on with --resume "
      "auto, or give another run_dir"));
}

absl::Status PruneCheckpoints(const std::string& run_dir, int64_t step,
                              int keep) {
  if (keep == 0) return absl::OkStatus();
  NW_ASSIGN_OR_RETURN(std::vector<int64_t> steps, CheckpointSteps(run_dir));
  std::reverse(steps.begin(), steps.end());
  int kept = 0;
  for (int64_t candidate : steps) {
    const std::string directory = CheckpointDirectory(run_dir, candidate);
    if (candidate > step || !LoadManifest(directory).ok()) continue;
    if (kept++ < keep) continue;
    NW_RETURN_IF_ERROR(RemoveCheckpoint(run_dir, candidate));
  }
  return absl::OkStatus();
}

}  // namespace nextword

#include "distributed/run_checkpoints.h"

#include <algorithm>
#include <iterator>
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
namespace {

// Whether the checkpoint itself is at fault. A disk that cannot be read may be
// mended, and a format of tomorrow is not damaged.
bool IsDamage(const absl::Status& status) {
  return absl::IsDataLoss(status) || absl::IsNotFound(status) ||
         absl::IsInvalidArgument(status);
}

bool IsScheduled(int64_t step, int64_t every) {
  return every == 0 || step % every == 0;
}

// The keep_best of lowest loss, of those that were evaluated on the same.
std::vector<int64_t> BestSteps(absl::Span<const SavedStep> saved, int count) {
  std::vector<SavedStep> evaluated;
  for (auto step = saved.rbegin(); step != saved.rend(); ++step) {
    if (!step->held_out_loss.has_value()) continue;
    if (!evaluated.empty() &&
        step->held_out_fingerprint != evaluated.front().held_out_fingerprint) {
      continue;
    }
    evaluated.push_back(*step);
  }
  // From the newest on; equal ones stay in this order.
  std::stable_sort(evaluated.begin(), evaluated.end(),
                   [](const SavedStep& a, const SavedStep& b) {
                     return *a.held_out_loss < *b.held_out_loss;
                   });
  std::vector<int64_t> best;
  for (const SavedStep& step : evaluated) {
    if (std::ssize(best) < count) best.push_back(step.step);
  }
  return best;
}

}  // namespace

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
    const std::string& run_dir, std::vector<DamagedCheckpoint>* damaged) {
  NW_ASSIGN_OR_RETURN(std::vector<int64_t> steps, CheckpointSteps(run_dir));
  std::reverse(steps.begin(), steps.end());
  std::vector<std::string> reasons;
  for (int64_t step : steps) {
    const std::string directory = CheckpointDirectory(run_dir, step);
    absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(directory);
    if (checkpoint.ok()) {
      return std::optional<Checkpoint>(*std::move(checkpoint));
    }
    if (!IsDamage(checkpoint.status())) return checkpoint.status();
    reasons.emplace_back(checkpoint.status().message());
    Log::warn("checkpoint of step {} passed over: {}", step, reasons.back());
    if (damaged != nullptr) damaged->push_back({directory, reasons.back()});
  }
  if (reasons.empty()) return std::optional<Checkpoint>();
  return absl::DataLossError(absl::StrCat(
      CheckpointsDirectory(run_dir),
      ": has checkpoints, but none is whole; to begin anew, give another "
      "run_dir or remove them\n",
      absl::StrJoin(reasons, "\n")));
}

absl::Status SetAside(const DamagedCheckpoint& damaged) {
  const size_t slash = damaged.directory.rfind('/');
  const std::string checkpoints = damaged.directory.substr(0, slash);
  const std::string name = damaged.directory.substr(slash + 1);
  std::string aside = absl::StrCat(checkpoints, "/damaged-", name);
  for (int i = 2; IsDirectory(aside); ++i) {
    aside = absl::StrCat(checkpoints, "/damaged-", name, "-", i);
  }
  NW_RETURN_IF_ERROR(ReplaceDirectory(damaged.directory, aside));
  Log::warn("{} is now {}: {}", damaged.directory, aside, damaged.reason);
  return absl::OkStatus();
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
    const std::string& resume, const std::string& run_dir,
    std::vector<DamagedCheckpoint>* damaged) {
  absl::string_view path = resume;
  const bool has_other = absl::ConsumePrefix(&path, "auto:");
  if (resume == "auto" || has_other) {
    NW_ASSIGN_OR_RETURN(std::optional<Checkpoint> latest,
                        FindLatestCheckpoint(run_dir, damaged));
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

absl::StatusOr<std::optional<Checkpoint>> NewestScheduledBefore(
    const std::string& run_dir, int64_t step, int64_t every) {
  NW_ASSIGN_OR_RETURN(std::vector<int64_t> steps, CheckpointSteps(run_dir));
  std::reverse(steps.begin(), steps.end());
  for (const int64_t candidate : steps) {
    if (candidate >= step || !IsScheduled(candidate, every)) continue;
    NW_ASSIGN_OR_RETURN(
        Checkpoint checkpoint,
        Checkpoint::Open(CheckpointDirectory(run_dir, candidate)));
    return std::optional<Checkpoint>(std::move(checkpoint));
  }
  return std::optional<Checkpoint>();
}

absl::Status RemoveCheckpointsAfter(const std::string& run_dir, int64_t step) {
  NW_ASSIGN_OR_RETURN(std::vector<int64_t> steps, CheckpointSteps(run_dir));
  // The newest first: what is left at any time is the beginning of a history.
  std::reverse(steps.begin(), steps.end());
  for (const int64_t later : steps) {
    if (later <= step) break;
    NW_RETURN_IF_ERROR(RemoveCheckpoint(run_dir, later));
  }
  return absl::OkStatus();
}

Retention RetentionOf(const CheckpointConfig& config) {
  return {.every = config.every(),
          .keep = config.keep(),
          .keep_every = config.keep_every(),
          .keep_best = config.keep_best()};
}

std::map<int64_t, std::string> KeptSteps(absl::Span<const SavedStep> saved,
                                         const Retention& retention) {
  std::map<int64_t, std::string> kept;
  const auto keep = [&](int64_t step, const std::string& why) {
    std::string& reasons = kept[step];
    absl::StrAppend(&reasons, reasons.empty() ? "" : ", ", why);
  };
  int scheduled = 0;
  for (auto step = saved.rbegin(); step != saved.rend(); ++step) {
    const bool counts = IsScheduled(step->step, retention.every);
    const bool is_newest = step == saved.rbegin();
    const bool is_among = counts && scheduled < retention.keep;
    if (is_newest || is_among || retention.keep == 0) {
      keep(step->step, "newest");
    }
    scheduled += counts ? 1 : 0;
    if (retention.keep_every > 0 && step->step % retention.keep_every == 0) {
      keep(step->step, absl::StrCat("multiple of ", retention.keep_every));
    }
  }
  for (const int64_t step : BestSteps(saved, retention.keep_best)) {
    keep(step, "held-out loss");
  }
  return kept;
}

absl::StatusOr<std::vector<SavedStep>> SavedSteps(const std::string& run_dir,
                                                  int64_t step) {
  NW_ASSIGN_OR_RETURN(const std::vector<int64_t> steps,
                      CheckpointSteps(run_dir));
  std::vector<SavedStep> saved;
  for (const int64_t candidate : steps) {
    const auto manifest = LoadManifest(CheckpointDirectory(run_dir, candidate));
    if (candidate > step || !manifest.ok()) continue;
    SavedStep& entry = saved.emplace_back();
    entry.step = candidate;
    entry.held_out_fingerprint = manifest->held_out_fingerprint();
    if (manifest->has_held_out_loss()) {
      entry.held_out_loss = manifest->held_out_loss();
    }
  }
  return saved;
}

absl::Status PruneCheckpoints(const std::string& run_dir, int64_t step,
                              const Retention& retention) {
  NW_ASSIGN_OR_RETURN(const std::vector<SavedStep> saved,
                      SavedSteps(run_dir, step));
  const std::map<int64_t, std::string> kept = KeptSteps(saved, retention);
  for (const SavedStep& entry : saved) {
    if (kept.count(entry.step) > 0) continue;
    NW_RETURN_IF_ERROR(RemoveCheckpoint(run_dir, entry.step));
  }
  return absl::OkStatus();
}

}  // namespace nextword

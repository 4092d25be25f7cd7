#include "distributed/run_health.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace nextword {

void RunHealth::Restore(const RunState& state) {
  state_ = state;
  // The window may have another size by now: of a longer one, the newest.
  auto* const losses = state_.mutable_recent_loss();
  const int extra = losses->size() - config_.spike_window();
  if (extra > 0) losses->erase(losses->begin(), losses->begin() + extra);
}

RunHealth::Verdict RunHealth::Judge(absl::string_view not_finite, double loss) {
  if (!not_finite.empty()) return JudgeSkipped(not_finite);
  state_.set_skipped_in_a_row(0);
  if (config_.spike_window() == 0) return Verdict::kGood;
  if (IsSpike(loss)) {
    if (state_.rollbacks() < config_.max_rollbacks()) return Verdict::kSpike;
    absl::StrAppendFormat(&sentence_,
                          "; the run has gone back %d times, as often as "
                          "stability.max_rollbacks allows",
                          state_.rollbacks());
    return Verdict::kStop;
  }
  auto* const losses = state_.mutable_recent_loss();
  losses->Add(loss);
  if (losses->size() > config_.spike_window()) losses->erase(losses->begin());
  return Verdict::kGood;
}

RunHealth::Verdict RunHealth::JudgeSkipped(absl::string_view not_finite) {
  state_.set_skipped_steps(state_.skipped_steps() + 1);
  state_.set_skipped_in_a_row(state_.skipped_in_a_row() + 1);
  const int row = state_.skipped_in_a_row();
  sentence_ =
      absl::StrCat(not_finite, " that is not finite: the update is skipped");
  if (row < config_.max_skipped_steps()) return Verdict::kSkipped;
  absl::StrAppendFormat(&sentence_,
                        "; so it was for %d steps in a row, as many as "
                        "stability.max_skipped_steps allows",
                        row);
  return Verdict::kStop;
}

bool RunHealth::IsSpike(double loss) {
  const auto& losses = state_.recent_loss();
  const int count = losses.size();
  if (count < config_.spike_window()) return false;
  double mean = 0;
  for (const double x : losses) mean += x / count;
  double squares = 0;
  for (const double x : losses) squares += (x - mean) * (x - mean);
  const double deviation = std::sqrt(squares / (count - 1));
  // Of losses that are all the same, nothing is unusual.
  if (!(deviation > 0)) return false;
  const double z = (loss - mean) / deviation;
  if (z <= config_.spike_z_score()) return false;
  sentence_ = absl::StrFormat(
      "loss %.4f lies %.1f standard deviations above the mean of the %d steps "
      "before, %.4f",
      loss, z, count, mean);
  return true;
}

void RunHealth::AfterRollback(const RunState& checkpoint) {
  const int rollbacks = state_.rollbacks() + 1;
  Restore(checkpoint);
  state_.set_rollbacks(rollbacks);
}

}  // namespace nextword

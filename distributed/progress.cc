#include "distributed/progress.h"

#include <unistd.h>

#include <cstdio>

#include "absl/strings/str_format.h"

namespace nextword {
namespace {

// "1h02m", "3m20s", "12s".
std::string FormatDuration(double seconds) {
  const int64_t s = static_cast<int64_t>(seconds + 0.5);
  if (s >= 3600) return absl::StrFormat("%dh%02dm", s / 3600, s / 60 % 60);
  if (s >= 60) return absl::StrFormat("%dm%02ds", s / 60, s % 60);
  return absl::StrFormat("%ds", s);
}

std::string FormatStep(const StepReport& r) {
  return absl::StrFormat(
      "step %d/%d  loss %.4f  lr %.2e  grad norm %.3f  %.0f tokens/s  "
      "%.0f%% of matmul peak  %s left",
      r.step, r.steps, r.loss, r.learning_rate, r.gradient_norm,
      r.tokens_per_second, 100 * r.peak_share, FormatDuration(r.seconds_left));
}

}  // namespace

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0) {}

void Progress::Step(const StepReport& report, bool keep) {
  if (!terminal_) {
    if (keep) Say(FormatStep(report));
    return;
  }
  std::fprintf(stderr, "\r\033[K%s", FormatStep(report).c_str());
  line_open_ = true;
}

void Progress::Say(const std::string& line) {
  std::fprintf(stderr, "%s%s\n", line_open_ ? "\n" : "", line.c_str());
  line_open_ = false;
}

}  // namespace nextword

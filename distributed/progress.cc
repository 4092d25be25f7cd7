#include "distributed/progress.h"

#include <sys/ioctl.h>
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
      "step %d/%d  loss %.4f  %s left  %.0f tokens/s  %.0f%% of matmul peak  "
      "lr %.2e  grad norm %.3f",
      r.step, r.steps, r.loss, FormatDuration(r.seconds_left),
      r.tokens_per_second, 100 * r.peak_share, r.learning_rate,
      r.gradient_norm);
}

size_t TerminalWidth() {
  winsize size;
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0;
  return known && size.ws_col > 1 ? size.ws_col : 80;
}

}  // namespace

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0) {}

void Progress::Step(const StepReport& report, bool keep) {
  if (!terminal_) {
    if (keep) Say(FormatStep(report));
    return;
  }
  // A line that wraps could not be renewed.
  std::fprintf(stderr, "\r\033[K%s",
               FormatStep(report).substr(0, TerminalWidth() - 1).c_str());
  line_open_ = true;
}

void Progress::Say(const std::string& line) {
  std::fprintf(stderr, "%s%s\n", line_open_ ? "\n" : "", line.c_str());
  line_open_ = false;
}

}  // namespace nextword

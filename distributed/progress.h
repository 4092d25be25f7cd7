// What a training run tells its user while it runs.
#ifndef NEXTWORD_DISTRIBUTED_PROGRESS_H_
#define NEXTWORD_DISTRIBUTED_PROGRESS_H_

#include <cstdint>
#include <string>

namespace nextword {

struct StepReport {
  int64_t step = 0;  // Done, counted from 1.
  int64_t steps = 0;
  double loss = 0;  // Nats per token.
  double learning_rate = 0;
  double gradient_norm = 0;
  double tokens_per_second = 0;
  double peak_share = 0;  // Of the machine's matmul peak, 0 to 1.
  double seconds_left = 0;
};

// On a terminal, one line that renews itself and stays where something else is
// said; elsewhere plain lines. Writes to standard error. Not thread-safe.
class Progress {
 public:
  Progress();

  // One step. `keep` says whether its line is to stay (always on a pipe, where
  // steps with keep = false are not shown).
  void Step(const StepReport& report, bool keep);

  // A line of its own.
  void Say(const std::string& line);

 private:
  const bool terminal_;
  bool line_open_ = false;  // The cursor is behind a renewable line.
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_PROGRESS_H_

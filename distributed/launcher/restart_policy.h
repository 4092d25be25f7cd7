// When a job that has failed is started again. Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_RESTART_POLICY_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_RESTART_POLICY_H_

#include <algorithm>
#include <optional>

#include "absl/time/time.h"

namespace nextword {

// After a pause that doubles each time, and a bounded number of times in a row.
class RestartPolicy {
 public:
  struct Options {
    int max_restarts = 3;
    absl::Duration first_pause = absl::Seconds(1);
    absl::Duration max_pause = absl::Seconds(60);
    // A run that lived for longer got somewhere, and the count starts over.
    absl::Duration progress_after = absl::Minutes(10);
  };

  explicit RestartPolicy(const Options& options) : options_(options) {}

  // A run has failed after `lived`: how long to pause before the next; nothing
  // when that was the last.
  std::optional<absl::Duration> AfterFailure(absl::Duration lived) {
    if (lived > options_.progress_after) restarts_ = 0;
    if (restarts_ >= options_.max_restarts) return std::nullopt;
    absl::Duration pause = options_.first_pause;
    for (int i = 0; i < restarts_ && pause < options_.max_pause; ++i) {
      pause *= 2;
    }
    ++restarts_;
    return std::min(pause, options_.max_pause);
  }

  int restarts() const { return restarts_; }  // In a row.
  int max_restarts() const { return options_.max_restarts; }

 private:
  const Options options_;
  int restarts_ = 0;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_RESTART_POLICY_H_

// Whether a run is well: what to do after a step of which something is not
// finite, or whose loss is a spike.
//
// A function of the steps' results and of the state that checkpoints carry: all
// ranks decide alike, and a resumed run as one that was not interrupted. Not
// thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RUN_HEALTH_H_
#define NEXTWORD_DISTRIBUTED_RUN_HEALTH_H_

#include <string>

#include "absl/strings/string_view.h"
#include "configs/train_config.pb.h"
#include "distributed/manifest.pb.h"

namespace nextword {

class RunHealth {
 public:
  enum class Verdict {
    kGood,
    kSkipped,  // The step has changed no weight; on with the next.
    kSpike,    // Back to before it.
    kStop,     // There have been too many of these.
  };

  explicit RunHealth(const StabilityConfig& config) : config_(config) {}

  // Goes on where a checkpoint was saved.
  void Restore(const RunState& state);
  const RunState& state() const { return state_; }

  // Of a step with this loss, whose update was skipped for what was not finite,
  // such as "a gradient", if that is not empty. A spike is a loss more than
  // spike_z_score sample standard deviations above the mean of the spike_window
  // good steps before; it does not count among those after it.
  Verdict Judge(absl::string_view not_finite, double loss);

  // The run has gone back to a checkpoint of this state. What was counted since
  // is forgotten with the steps themselves, but for the rollback.
  void AfterRollback(const RunState& checkpoint);

  // About the last verdict that was not kGood: "loss 9.1 lies 12.3 standard
  // deviations above the mean of the 100 steps before, 3.2".
  const std::string& sentence() const { return sentence_; }

 private:
  Verdict JudgeSkipped(absl::string_view not_finite);
  bool IsSpike(double loss);

  const StabilityConfig config_;
  RunState state_;
  std::string sentence_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_RUN_HEALTH_H_

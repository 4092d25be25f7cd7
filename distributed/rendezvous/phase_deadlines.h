// How long a rank may stay in a phase before its job counts as stuck.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_PHASE_DEADLINES_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_PHASE_DEADLINES_H_

#include <map>
#include <string>

#include "absl/time/time.h"

namespace nextword {

// A value. Zero stands for no deadline.
struct PhaseDeadlines {
  std::map<std::string, absl::Duration> by_phase = {};  // By Activity::phase.
  absl::Duration others = absl::ZeroDuration();

  // Whether a phase was said to have none, so that those who wait for a rank in
  // it wait as long.
  bool IsFree(const std::string& phase) const {
    const auto found = by_phase.find(phase);
    return found != by_phase.end() && found->second <= absl::ZeroDuration();
  }

  absl::Duration Of(const std::string& phase) const {
    const auto found = by_phase.find(phase);
    return found == by_phase.end() ? others : found->second;
  }
};

// Long: a rank that saves or evaluates is busy, and to interrupt it is worse
// than to wait for one that hangs. A large text may be tokenized for hours.
inline PhaseDeadlines DefaultPhaseDeadlines() {
  return {.by_phase = {{"data open", absl::ZeroDuration()}},
          .others = absl::Minutes(30)};
}

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_PHASE_DEADLINES_H_

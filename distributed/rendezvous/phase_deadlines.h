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

  absl::Duration Of(const std::string& phase) const {
    const auto found = by_phase.find(phase);
    return found == by_phase.end() ? others : found->second;
  }
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_PHASE_DEADLINES_H_

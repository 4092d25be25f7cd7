// Time during which this process could run. While it is stopped, or its machine
// sleeps, the others are not to be blamed for silence. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_AWAKE_CLOCK_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_AWAKE_CLOCK_H_

#include <algorithm>
#include <chrono>
#include <mutex>

#include "absl/time/time.h"

namespace nextword::rendezvous {

class AwakeClock {
 public:
  // Never decreases. From call to call it advances by a second at most, so
  // whoever relies on it calls it more often.
  absl::Time Now() {
    const auto steady = std::chrono::steady_clock::now();
    const std::lock_guard lock(mutex_);
    const absl::Duration passed = absl::FromChrono(steady - last_);
    last_ = std::max(last_, steady);
    now_ += std::clamp(passed, absl::ZeroDuration(), absl::Seconds(1));
    return now_;
  }

 private:
  std::mutex mutex_;
  std::chrono::steady_clock::time_point last_ =
      std::chrono::steady_clock::now();
  absl::Time now_ = absl::UnixEpoch() + absl::Seconds(1);
};

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_AWAKE_CLOCK_H_

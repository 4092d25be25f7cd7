// Time that nobody sets. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_MONOTONIC_CLOCK_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_MONOTONIC_CLOCK_H_

#include <chrono>

#include "absl/time/time.h"

namespace nextword {

// Good for differences alone.
inline absl::Time MonotonicNow() {
  return absl::UnixEpoch() +
         absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_MONOTONIC_CLOCK_H_

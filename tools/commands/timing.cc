#include "tools/commands/timing.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "autograd/base/check.h"

namespace nextword {

Timing TimingOf(std::vector<double> seconds) {
  NW_CHECK(!seconds.empty());
  std::sort(seconds.begin(), seconds.end());
  const size_t n = seconds.size();
  return {seconds[0], (seconds[(n - 1) / 2] + seconds[n / 2]) / 2,
          static_cast<int64_t>(n)};
}

Timing Measure(double seconds, const std::function<void()>& body) {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kMinCalls = 3;
  body();
  std::vector<double> taken;
  double sum = 0;
  while (sum < seconds || taken.size() < kMinCalls) {
    const Clock::time_point start = Clock::now();
    body();
    taken.push_back(
        std::chrono::duration<double>(Clock::now() - start).count());
    sum += taken.back();
  }
  return TimingOf(std::move(taken));
}

}  // namespace nextword

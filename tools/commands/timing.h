// How long something takes.
#ifndef NEXTWORD_TOOLS_COMMANDS_TIMING_H_
#define NEXTWORD_TOOLS_COMMANDS_TIMING_H_

#include <cstdint>
#include <functional>
#include <vector>

namespace nextword {

struct Timing {
  double best = 0;    // Seconds.
  double median = 0;  // Seconds.
  int64_t calls = 0;
};

// Of at least one call.
Timing TimingOf(std::vector<double> seconds);

// Calls `body` once to warm up, then for about `seconds`, three times at least.
Timing Measure(double seconds, const std::function<void()>& body);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_TIMING_H_

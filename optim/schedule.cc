#include "optim/schedule.h"

#include <algorithm>
#include <cmath>

namespace nextword {
namespace {

// How far `step` is from `begin` to `end`, within [0, 1].
double Progress(int64_t step, int64_t begin, int64_t end) {
  if (end <= begin) return step < begin ? 0 : 1;
  return std::clamp(
      static_cast<double>(step - begin) / static_cast<double>(end - begin), 0.0,
      1.0);
}

}  // namespace

double LearningRateFactor(const ScheduleConfig& schedule, int64_t steps,
                          int64_t step) {
  const int64_t warmup = schedule.warmup_steps();
  if (step < warmup) {
    return static_cast<double>(step + 1) / static_cast<double>(warmup);
  }
  const double drop = 1 - schedule.final_ratio();
  switch (schedule.kind()) {
    case CONSTANT:
      return 1;
    case LINEAR:
      return 1 - drop * Progress(step, warmup, steps);
    case COSINE:
      return 1 -
             drop * (1 - std::cos(M_PI * Progress(step, warmup, steps))) / 2;
    case WARMUP_STABLE_DECAY:
      return 1 - drop * Progress(step, steps - schedule.decay_steps(), steps);
  }
  return 1;
}

}  // namespace nextword

// The learning rate as a pure function of the step.
#ifndef NEXTWORD_OPTIM_SCHEDULE_H_
#define NEXTWORD_OPTIM_SCHEDULE_H_

#include <cstdint>

#include "configs/train_config.pb.h"

namespace nextword {

// The share of the peak learning rate, in [0, 1], that step `step` of `steps`
// (counted from 0) takes.
//
// Warm-up: (step + 1) / warmup_steps, reaching 1 with its last step. Then, with
// t from 0 to 1 over the steps that are left and r = final_ratio:
//   CONSTANT             1
//   LINEAR               1 - (1 - r) t
//   COSINE               r + (1 - r) (1 + cos(pi t)) / 2
//   WARMUP_STABLE_DECAY  1, and LINEAR over the last decay_steps
double LearningRateFactor(const ScheduleConfig& schedule, int64_t steps,
                          int64_t step);

}  // namespace nextword

#endif  // NEXTWORD_OPTIM_SCHEDULE_H_

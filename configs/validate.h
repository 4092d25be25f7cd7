// The rules that a run's config keeps. Thread-safe.
#ifndef NEXTWORD_CONFIGS_VALIDATE_H_
#define NEXTWORD_CONFIGS_VALIDATE_H_

#include "absl/status/status.h"
#include "configs/train_config.pb.h"

namespace nextword {

// What a config is for. A config that is only checked may do without run_dir
// and data.
enum class ConfigUse { kCheck, kTrain };

// OK, or one InvalidArgument that lists every value out of range and every
// contradiction between fields, one a line: the field's path, the value seen
// and the value wanted. Does not look at the disk.
absl::Status ValidateTrainConfig(const TrainConfig& config, ConfigUse use);

}  // namespace nextword

#endif  // NEXTWORD_CONFIGS_VALIDATE_H_

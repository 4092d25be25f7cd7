// A run's config from a text proto and the command line's overrides.
// Thread-safe.
#ifndef NEXTWORD_CONFIGS_CONFIG_H_
#define NEXTWORD_CONFIGS_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "configs/train_config.pb.h"

namespace nextword {

// Reads the text proto at `path` and applies `overrides` ("model.layers=6", in
// order). One error lists every slip of file and overrides, one a line, by
// line, column and field's path. Contradictions between fields are not looked
// for here: see configs/validate.h.
absl::StatusOr<TrainConfig> LoadTrainConfig(
    const std::string& path, const std::vector<std::string>& overrides);

}  // namespace nextword

#endif  // NEXTWORD_CONFIGS_CONFIG_H_

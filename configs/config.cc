#include "configs/config.h"

#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "configs/config_errors.h"
#include "configs/override.h"
#include "configs/text_proto.h"

namespace nextword {

absl::StatusOr<TrainConfig> LoadTrainConfig(
    const std::string& path, const std::vector<std::string>& overrides) {
  NW_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  TrainConfig config;
  ConfigErrors errors;
  ReadTextProto(path, text, &config, &errors);
  for (const std::string& assignment : overrides) {
    ApplyOverride(assignment, &config, &errors);
  }
  NW_RETURN_IF_ERROR(errors.ToStatus());
  return config;
}

}  // namespace nextword

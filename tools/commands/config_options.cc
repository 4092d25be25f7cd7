#include "tools/commands/config_options.h"

#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "configs/config.h"

namespace nextword {

void ConfigOptions::AddTo(CLI::App& command) {
  command.add_option("--config", path, "The run's config, a text proto")
      ->type_name("FILE")
      ->required();
  command
      .add_option("--set", overrides,
                  "Override a field: --set model.layers=6; may be repeated")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
}

absl::StatusOr<TrainConfig> ConfigOptions::Load(ConfigUse use) const {
  NW_ASSIGN_OR_RETURN(TrainConfig config, LoadTrainConfig(path, overrides));
  NW_RETURN_IF_ERROR(ValidateTrainConfig(config, use));
  SetNumThreads(config.threads());
  return config;
}

}  // namespace nextword

// The options that name a config, for the commands that take one.
#ifndef NEXTWORD_TOOLS_COMMANDS_CONFIG_OPTIONS_H_
#define NEXTWORD_TOOLS_COMMANDS_CONFIG_OPTIONS_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "configs/train_config.pb.h"
#include "configs/validate.h"

namespace nextword {

// `--config F [--set PATH=VALUE]...`.
struct ConfigOptions {
  std::string path;
  std::vector<std::string> overrides;

  // Adds them to `command`; this object must outlive it.
  void AddTo(CLI::App& command);

  // The config, read, overridden and valid for `use`; threads are set to what
  // it says.
  absl::StatusOr<TrainConfig> Load(ConfigUse use) const;
};

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_CONFIG_OPTIONS_H_

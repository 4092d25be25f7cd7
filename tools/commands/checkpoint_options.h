// The options of commands that use a trained model.
#ifndef NEXTWORD_TOOLS_COMMANDS_CHECKPOINT_OPTIONS_H_
#define NEXTWORD_TOOLS_COMMANDS_CHECKPOINT_OPTIONS_H_

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "distributed/trained_model.h"

namespace nextword {

class CheckpointOptions {
 public:
  // Adds --checkpoint, --device and --threads. Outlives `command`.
  void AddTo(CLI::App* command);

  // The model, where and as the options say.
  absl::StatusOr<TrainedModel> Load() const;

 private:
  std::string path_;
  std::string device_ = "AUTO";
  int threads_ = 0;
};

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_CHECKPOINT_OPTIONS_H_

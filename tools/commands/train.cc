#include "tools/commands/train.h"

#include <memory>
#include <string>

#include "autograd/base/status.h"
#include "distributed/trainer.h"
#include "tools/commands/config_options.h"
#include "tools/commands/example.h"

namespace nextword {
namespace {

struct Options {
  ConfigOptions config;
  std::string resume = "none";
};

absl::Status Train(const Options& options) {
  NW_ASSIGN_OR_RETURN(const TrainConfig config,
                      options.config.Load(ConfigUse::kTrain));
  NW_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer,
                      Trainer::Create(config, options.resume));
  return trainer->Run();
}

}  // namespace

void AddTrainCommand(CLI::App& app, absl::Status* status) {
  CLI::App* command = app.add_subcommand("train", "Train a model.");
  ShowExample(*command,
              "nextword train --config configs/quickstart.textproto\n"
              "nextword train --config my.textproto --set steps=200 "
              "--resume auto");
  auto options = std::make_shared<Options>();
  options->config.AddTo(*command);
  command
      ->add_option("--resume", options->resume,
                   "auto: go on from the run's newest checkpoint, or start if "
                   "it has none. none: start; an error if it has some. Or the "
                   "path of a checkpoint or a run")
      ->type_name("auto|none|PATH")
      ->capture_default_str();
  command->callback([options, status] { *status = Train(*options); });
}

}  // namespace nextword

#include "tools/commands/train.h"

#include <cstdint>
#include <memory>
#include <string>

#include "autograd/base/status.h"
#include "distributed/trainer.h"
#include "tools/commands/config_options.h"
#include "tools/commands/example.h"
#include "tools/commands/join_world.h"

namespace nextword {
namespace {

struct Options {
  ConfigOptions config;
  std::string resume = "none";
  int64_t profiled_steps = 0;
  std::string profile_path;
};

absl::Status TrainAsRank(const Options& options, const TrainConfig& config,
                         const RankGroups& groups) {
  NW_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer,
                      Trainer::Create(config, options.resume, groups));
  if (options.profiled_steps > 0 && groups.all->rank() == 0) {
    trainer->Profile(options.profiled_steps, options.profile_path);
  }
  return trainer->Run();
}

absl::Status Train(const Options& options) {
  NW_ASSIGN_OR_RETURN(const TrainConfig config,
                      options.config.Load(ConfigUse::kTrain));
  NW_ASSIGN_OR_RETURN(const std::unique_ptr<World> world, JoinWorld(config));
  return world->Leave(TrainAsRank(options, config, world->groups()));
}

}  // namespace

void AddTrainCommand(CLI::App& app, absl::Status* status) {
  CLI::App* command = app.add_subcommand("train", "Train a model.");
  ShowExample(*command,
              "nextword train --config configs/quickstart.textproto\n"
              "nextword train --config my.textproto --set steps=200 "
              "--resume auto\n"
              "nextword train --config my.textproto --profile 5");
  auto options = std::make_shared<Options>();
  options->config.AddTo(*command);
  command
      ->add_option("--resume", options->resume,
                   "auto: go on from the run's newest checkpoint, or start if "
                   "it has none (auto:PATH, from PATH). none: start; an error "
                   "if it has some. Or the path of a checkpoint or a run")
      ->type_name("auto|none|PATH")
      ->capture_default_str();
  CLI::Option* const profile =
      command
          ->add_option("--profile", options->profiled_steps,
                       "Trace this many steps of rank 0, after the first two, "
                       "into a file for Perfetto or chrome://tracing")
          ->type_name("STEPS")
          ->check(CLI::Range(1, 1'000'000));
  command
      ->add_option("--profile-file,--profile_file", options->profile_path,
                   "That file; RUN_DIR/profile.json if not given")
      ->type_name("FILE")
      ->needs(profile);
  command->callback([options, status] { *status = Train(*options); });
}

}  // namespace nextword

#include "tools/commands/train.h"

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/base/status.h"
#include "autograd/base/stop.h"
#include "distributed/place.h"
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
  std::string stop_after;
};

absl::Status TrainAsRank(const Options& options, const TrainConfig& config,
                         const RankGroups& groups, Trainer::End* end) {
  NW_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer,
                      Trainer::Create(config, options.resume, groups));
  if (options.profiled_steps > 0 && groups.all->rank() == 0) {
    trainer->Profile(options.profiled_steps, options.profile_path);
  }
  NW_ASSIGN_OR_RETURN(*end, trainer->Run());
  return absl::OkStatus();
}

// When this process, or the launcher that started it, began.
absl::Time StartOfJob() {
  const char* const text = std::getenv(kStartedAtVariable);
  int64_t seconds;
  if (text == nullptr || !absl::SimpleAtoi(text, &seconds)) return absl::Now();
  return absl::FromUnixSeconds(seconds);
}

absl::Status Train(const Options& options, int* exit_code) {
  WatchStopSignals();
  if (!options.stop_after.empty()) {
    absl::Duration limit;
    if (!absl::ParseDuration(options.stop_after, &limit) ||
        limit <= absl::ZeroDuration()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--stop-after is ", options.stop_after,
                       ", wanted a time such as 3h55m, 90m or 30s"));
    }
    StopAt(StartOfJob() + limit);
  }
  NW_ASSIGN_OR_RETURN(const TrainConfig config,
                      options.config.Load(ConfigUse::kTrain));
  NW_ASSIGN_OR_RETURN(const std::unique_ptr<World> world, JoinWorld(config));
  // Until now there was nothing to save, and nothing to do but to end.
  TakeStopSignals();
  Trainer::End end = Trainer::End::kDone;
  NW_RETURN_IF_ERROR(
      world->Leave(TrainAsRank(options, config, world->groups(), &end)));
  if (end == Trainer::End::kStopped) *exit_code = kStoppedExitCode;
  return absl::OkStatus();
}

}  // namespace

void AddTrainCommand(CLI::App& app, absl::Status* status, int* exit_code) {
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
  command
      ->add_option("--stop-after,--stop_after", options->stop_after,
                   "Save and stop, with exit code 85, after this time, such as "
                   "3h55m: for queues that end jobs. The same happens at "
                   "SIGTERM, SIGINT (Ctrl-C) and SIGUSR1")
      ->type_name("TIME");
  command->callback(
      [options, status, exit_code] { *status = Train(*options, exit_code); });
}

}  // namespace nextword

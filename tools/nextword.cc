// The nextword binary: one subcommand per file of tools/commands.
//
// Exit codes: 0 done; 1 the command failed (the reason is on standard error);
// 85 it was asked to stop, and has saved what it needs to go on; 75 a rank that
// wants to be started again; 128 + the number of a signal that was sent twice;
// others for a command line that could not be read. That of `launch` is a
// rank's.
#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "autograd/base/file.h"
#include "distributed/world.h"
#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/spdlog.h"
#include "tools/commands/bench.h"
#include "tools/commands/check.h"
#include "tools/commands/checkpoint.h"
#include "tools/commands/coordinator.h"
#include "tools/commands/eval.h"
#include "tools/commands/example.h"
#include "tools/commands/generate.h"
#include "tools/commands/launch.h"
#include "tools/commands/tokenize.h"
#include "tools/commands/train.h"
#include "tools/commands/version.h"

namespace {

// A closed standard stream would lend its number to the next file that is
// opened, and messages would go into a checkpoint.
void OpenStandardStreams() {
  int fd;
  do {
    fd = open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) close(fd);
}

// Whether the same command may succeed later, after a peer has come back, a
// disk has been cleared or a machine has been mended.
bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsAborted(status) ||
         absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status);
}

// Whether this is `launch ... train ...` without the -- between the two, which
// would be taken for unknown options of launch.
bool ForgotSeparator(int argc, char** argv) {
  const std::set<std::string> arguments(argv + 1, argv + argc);
  return argc > 1 && std::string(argv[1]) == "launch" &&
         (arguments.count("train") > 0 || arguments.count("bench") > 0);
}

}  // namespace

int main(int argc, char** argv) {
  OpenStandardStreams();
  // A launcher starts it as /proc/self/exe, and `ps` would call it "exe".
  prctl(PR_SET_NAME, "nextword");
  // Standard output is for results.
  spdlog::set_default_logger(spdlog::stderr_color_mt("nextword"));
  spdlog::set_pattern("%^%l%$: %v");
  CLI::App app("Train language models to predict the next word.", "nextword");
  nextword::ShowExample(app,
                        "nextword train --config configs/quickstart.textproto");
  app.require_subcommand(1);
  absl::Status status;
  int exit_code = 0;
  const std::vector<std::string> launched =
      nextword::CutLaunchedCommand(&argc, argv);
  if (launched.empty() && ForgotSeparator(argc, argv)) {
    std::fprintf(stderr,
                 "nextword: launch wants -- before what it runs: nextword "
                 "launch --nproc 2 -- train --config my.textproto\n");
    return static_cast<int>(CLI::ExitCodes::ExtrasError);
  }
  nextword::AddTrainCommand(app, &status, &exit_code);
  nextword::AddLaunchCommand(app, launched, &status, &exit_code);
  nextword::AddCoordinatorCommand(app, &status, &exit_code);
  nextword::AddCheckCommand(app, &status);
  nextword::AddCheckpointCommand(app, &status);
  nextword::AddEvalCommand(app, &status);
  nextword::AddGenerateCommand(app, &status);
  nextword::AddTokenizeCommand(app, &status);
  nextword::AddBenchCommand(app, &status);
  nextword::AddVersionCommand(app, &status);
  CLI11_PARSE(app, argc, argv);
  // What is still buffered may meet a full disk.
  if (status.ok() && (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)) {
    status = nextword::FileError("standard output", "write");
  }
  if (status.ok()) return exit_code;
  std::fprintf(stderr, "nextword: %s\n", std::string(status.message()).c_str());
  if (absl::IsCancelled(status)) return nextword::kStoppedExitCode;
  const bool launched_rank = std::getenv("NEXTWORD_LAUNCHED") != nullptr;
  return launched_rank && MayPass(status) ? nextword::kAbortedExitCode : 1;
}

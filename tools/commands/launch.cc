#include "tools/commands/launch.h"

#include <errno.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/base/status.h"
#include "distributed/launcher/coordinator_link.h"
#include "distributed/launcher/environment.h"
#include "distributed/launcher/launch_plan.h"
#include "distributed/launcher/supervisor.h"
#include "distributed/launcher/token.h"
#include "distributed/place.h"
#include "spdlog/sinks/base_sink.h"
#include "spdlog/spdlog.h"
#include "tools/commands/coordinator_options.h"
#include "tools/commands/example.h"

namespace nextword {
namespace {

// This program, even if its file has been replaced meanwhile.
constexpr char kThisProgram[] = "/proc/self/exe";

struct Options {
  LaunchOptions launch;
  CoordinatorOptions coordinator;
  std::string tls_ca;
  int max_restarts = 3;
  double backoff = 1;
  std::string log_dir;
  std::vector<std::string> arguments;  // Of a rank, the subcommand first.
};

// While one lives, what this process logs comes between the lines of ranks.
class LogBetweenLines {
 public:
  // `supervisor` outlives it.
  explicit LogBetweenLines(Supervisor* supervisor)
      : before_(spdlog::default_logger()) {
    auto logger = std::make_shared<spdlog::logger>(
        "launcher", std::make_shared<Sink>(supervisor));
    logger->set_pattern("[launcher] %l: %v");
    spdlog::set_default_logger(std::move(logger));
  }
  ~LogBetweenLines() { spdlog::set_default_logger(before_); }

 private:
  class Sink : public spdlog::sinks::base_sink<std::mutex> {
   public:
    explicit Sink(Supervisor* supervisor) : supervisor_(supervisor) {}

   protected:
    void sink_it_(const spdlog::details::log_msg& message) override {
      spdlog::memory_buf_t text;
      formatter_->format(message, text);
      absl::string_view line(text.data(), text.size());
      if (!line.empty() && line.back() == '\n') line.remove_suffix(1);
      supervisor_->Say(line);
    }
    void flush_() override {}

   private:
    Supervisor* const supervisor_;
  };

  const std::shared_ptr<spdlog::logger> before_;
};

ChildCommand ThisProgram(const std::vector<std::string>& arguments,
                         EnvironmentMap environment) {
  ChildCommand command = {
      kThisProgram, {program_invocation_name}, std::move(environment)};
  command.arguments.insert(command.arguments.end(), arguments.begin(),
                           arguments.end());
  return command;
}

ChildCommand CoordinatorCommand(const Options& options, const LaunchPlan& plan,
                                const std::string& token,
                                const EnvironmentMap& environment,
                                const std::string& listen) {
  std::vector<std::string> arguments = {
      "coordinator",
      "--listen",
      listen,
      "--world-size",
      absl::StrCat(plan.world_size()),
      "--run-id",
      plan.run_id,
      "--control-fd",
      absl::StrCat(ChildProcess::kGivenDescriptor)};
  for (const std::string& argument : options.coordinator.Arguments()) {
    arguments.push_back(argument);
  }
  EnvironmentMap variables = environment;
  variables["NEXTWORD_TOKEN"] = token;  // Everybody can read command lines.
  return ThisProgram(arguments, std::move(variables));
}

Supervisor::Options SupervisorOptions(const Options& options,
                                      const LaunchPlan& plan,
                                      const std::string& token) {
  EnvironmentMap environment = CurrentEnvironment();
  if (!options.tls_ca.empty()) environment["NEXTWORD_TLS_CA"] = options.tls_ca;
  // Restarts do not begin --stop-after anew.
  environment.emplace(kStartedAtVariable,
                      absl::StrCat(absl::ToUnixSeconds(absl::Now())));
  Supervisor::Options s;
  s.ranks = plan.nproc;
  s.first_rank = plan.first_rank();
  s.world_size = plan.world_size();
  s.command = [=](int local_rank, bool restarted,
                  const std::string& coordinator) {
    return ThisProgram(
        restarted ? RestartArguments(options.arguments) : options.arguments,
        RankEnvironment(plan, local_rank, coordinator, token, environment));
  };
  if (plan.node_rank == 0) {
    s.coordinator_command = [=](const std::string& listen) {
      return CoordinatorCommand(options, plan, token, environment, listen);
    };
    s.listen = plan.listen;
  }
  if (plan.has_port()) s.coordinator = plan.coordinator;
  s.log_dir = options.log_dir;
  s.restarts.max_restarts = options.max_restarts;
  s.restarts.first_pause = absl::Seconds(options.backoff);
  return s;
}

absl::Status Launch(const Options& options, int* exit_code) {
  if (options.arguments.empty()) {
    return absl::InvalidArgumentError(
        "launch: no command is given; wanted -- and what each rank is to run, "
        "for instance -- train --config my.textproto");
  }
  const EnvironmentMap environment = CurrentEnvironment();
  NW_ASSIGN_OR_RETURN(LaunchPlan plan, PlanLaunch(options.launch, environment));
  NW_ASSIGN_OR_RETURN(const std::string token,
                      JobToken(options.launch.token_file, environment));
  if (plan.run_id.empty()) {
    NW_ASSIGN_OR_RETURN(plan.run_id, RandomHex(64));
  }
  // The coordinator would refuse them too late to be understood.
  NW_RETURN_IF_ERROR(options.coordinator.Resolve().status());

  std::unique_ptr<Supervisor> supervisor;
  CoordinatorLink::Options link_options;
  link_options.client.run_id = plan.run_id;
  link_options.client.token = token;
  link_options.client.tls_ca_file = options.tls_ca;
  link_options.client.start_timeout =
      absl::Seconds(options.coordinator.start_timeout);
  link_options.on_abort = [&](const std::string& sentence) {
    supervisor->Abort(sentence);
  };
  link_options.on_unreachable = [&] { supervisor->CoordinatorIsUnreachable(); };
  link_options.on_error = [&](const std::string& sentence) {
    supervisor->Fail(sentence);
  };
  CoordinatorLink link(std::move(link_options));

  Supervisor::Options s = SupervisorOptions(options, plan, token);
  s.on_start = [&](const std::string& coordinator) { link.Start(coordinator); };
  s.on_failure = [&](int rank, pid_t pid, const std::string& how) {
    link.Report(rank, pid, how);
  };
  s.on_end = [&] { link.Flush(absl::Seconds(2)); };
  NW_ASSIGN_OR_RETURN(supervisor, Supervisor::Create(std::move(s)));
  const LogBetweenLines log(supervisor.get());
  *exit_code = supervisor->Run();
  if (!link.Close(absl::Seconds(1))) {
    supervisor.reset();
    std::fflush(nullptr);
    _exit(*exit_code);  // Its thread would meet objects that are gone.
  }
  return absl::OkStatus();
}

void AddNodeOptions(CLI::App& command, LaunchOptions* options) {
  command.add_option("--nproc", options->nproc, "Ranks on each node")
      ->type_name("N")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command
      .add_option("--nnodes", options->nnodes,
                  "Nodes, each with a launcher; 1 if not given, but for a "
                  "Slurm job, which has as many as the job")
      ->type_name("M")
      ->check(CLI::Range(1, 4096));
  command
      .add_option("--node-rank", options->node_rank,
                  "This node's number, from 0; if not given, Slurm's or that "
                  "of a Kubernetes indexed job")
      ->type_name("K");
  command
      .add_option("--coordinator", options->coordinator,
                  "Where all nodes reach node 0, whose launcher starts a "
                  "coordinator there; in a Slurm job known")
      ->type_name("HOST:PORT");
  command
      .add_option("--listen", options->listen,
                  "Where it listens, if that is another address on node 0")
      ->type_name("HOST:PORT");
  command
      .add_option("--run-id", options->run_id,
                  "A name for this job, the same on all nodes; a Slurm job's "
                  "number, or random on a single node")
      ->type_name("NAME");
  command
      .add_option(
          "--token-file", options->token_file,
          "A file with a secret that is the same on all nodes and keeps "
          "others out; or set the variable NEXTWORD_TOKEN. A single "
          "node makes its own")
      ->type_name("FILE");
}

}  // namespace

std::vector<std::string> CutLaunchedCommand(int* argc, char** argv) {
  if (*argc < 2 || argv[1] != absl::string_view("launch")) return {};
  for (int i = 2; i < *argc; ++i) {
    if (argv[i] != absl::string_view("--")) continue;
    std::vector<std::string> command(argv + i + 1, argv + *argc);
    *argc = i;
    return command;
  }
  return {};
}

void AddLaunchCommand(CLI::App& app, const std::vector<std::string>& launched,
                      absl::Status* status, int* exit_code) {
  CLI::App* command = app.add_subcommand(
      "launch", "Run a command as several processes, on one or more machines.");
  ShowExample(
      *command,
      "nextword launch --nproc 8 -- train --config my.textproto\n"
      "nextword launch --nproc 8 --nnodes 2 --node-rank 0 --run-id my_job \\\n"
      "    --coordinator node0:29400 --token-file token -- train --config "
      "my.textproto\n"
      "srun --ntasks-per-node=1 nextword launch --nproc 8 -- train --config "
      "my.textproto");
  auto options = std::make_shared<Options>();
  options->arguments = launched;
  AddNodeOptions(*command, &options->launch);
  command
      ->add_option("--max-restarts", options->max_restarts,
                   "How often in a row the job is started again, from its "
                   "newest checkpoint, after a rank was killed or lost")
      ->type_name("R")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  command
      ->add_option("--backoff", options->backoff,
                   "The pause before that; doubles each time in a row, up to "
                   "60 s")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 60.0))
      ->capture_default_str();
  command
      ->add_option("--log-dir", options->log_dir,
                   "Also write the output of each rank to RANK.log there")
      ->type_name("DIR");
  options->coordinator.AddTo(*command);
  command
      ->add_option("--tls-ca", options->tls_ca,
                   "Who signed the coordinator's certificate, PEM; all nodes")
      ->type_name("FILE");
  command->footer(
      "After --: what each rank runs, train and its options. The exit code is "
      "that of the rank that failed first.");
  command->callback(
      [options, status, exit_code] { *status = Launch(*options, exit_code); });
}

}  // namespace nextword

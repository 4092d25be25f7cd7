#include "distributed/launcher/launch_plan.h"

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "autograd/base/check.h"
#include "autograd/base/status.h"
#include "distributed/launcher/slurm.h"

namespace nextword {
namespace {

constexpr int kMaxNodes = 4096;
constexpr size_t kMaxRunId = 128;

bool IsRunId(const std::string& id) {
  if (id.empty() || id.size() > kMaxRunId) return false;
  for (const char c : id) {
    if (!absl::ascii_isalnum(c) && !absl::StrContains("._-:", c)) return false;
  }
  return true;
}

// A whole number of at least `least` in a variable.
absl::StatusOr<int64_t> Number(const EnvironmentMap& environment,
                               const std::string& name, int64_t least) {
  const std::string text = ValueOf(environment, name);
  int64_t number;
  if (!absl::SimpleAtoi(text, &number) || number < least) {
    return absl::InvalidArgumentError(
        absl::StrCat("the variable ", name, ": is \"", text,
                     "\", wanted a whole number, at least ", least));
  }
  return number;
}

// What was not given, from Slurm.
absl::Status ReadSlurm(const EnvironmentMap& environment,
                       LaunchOptions* options) {
  // Within a node, Slurm counts a step's processes.
  const std::string local_id = ValueOf(environment, "SLURM_LOCALID");
  if (!local_id.empty() && local_id != "0") {
    return absl::InvalidArgumentError(
        absl::StrCat("the variable SLURM_LOCALID: is \"", local_id,
                     "\", wanted one launcher on each node: srun "
                     "--ntasks-per-node=1 nextword launch --nproc N ..."));
  }
  // srun may have been told to use fewer nodes than the job has.
  const bool step = environment.contains("SLURM_STEP_NUM_NODES");
  const std::string count =
      step ? "SLURM_STEP_NUM_NODES" : "SLURM_JOB_NUM_NODES";
  NW_ASSIGN_OR_RETURN(const int64_t nodes, Number(environment, count, 1));
  if (nodes > kMaxNodes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the variable ", count, ": is ", nodes,
                     ", wanted at most ", kMaxNodes));
  }
  options->nnodes = static_cast<int>(nodes);
  if (!options->node_rank.has_value() && nodes > 1) {
    // It would take itself for node 0 and wait for the others in vain.
    if (!step) {
      return absl::InvalidArgumentError(
          absl::StrCat("this Slurm job has ", nodes,
                       " nodes, but no srun started this launcher; wanted one "
                       "on each node: srun --ntasks-per-node=1 nextword launch "
                       "--nproc N ..., or --nnodes 1 for this node alone"));
    }
    NW_ASSIGN_OR_RETURN(const int64_t node,
                        Number(environment, "SLURM_NODEID", 0));
    options->node_rank = static_cast<int>(std::min<int64_t>(node, kMaxNodes));
  }
  if (options->coordinator.empty() && nodes > 1) {
    NW_ASSIGN_OR_RETURN(const int64_t job,
                        Number(environment, "SLURM_JOB_ID", 0));
    const char* const list =
        step ? "SLURM_STEP_NODELIST" : "SLURM_JOB_NODELIST";
    const auto host = FirstHost(ValueOf(environment, list));
    if (!host.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the variable ", list, ": ", host.status().message()));
    }
    options->coordinator = absl::StrCat(*host, ":", JobPort(job));
  }
  return absl::OkStatus();
}

// What is missing or wrong in a job of several nodes, a sentence each.
std::vector<std::string> Faults(const LaunchOptions& options,
                                const EnvironmentMap& environment) {
  std::vector<std::string> faults;
  const int nnodes = *options.nnodes;
  if (!options.node_rank.has_value()) {
    faults.push_back(
        absl::StrCat("--node-rank: not given, wanted this node's number, 0 to ",
                     nnodes - 1));
  } else if (*options.node_rank < 0 || *options.node_rank >= nnodes) {
    faults.push_back(absl::StrCat("--node-rank: is ", *options.node_rank,
                                  ", wanted 0 to ", nnodes - 1, " with ",
                                  nnodes, " nodes"));
  }
  if (options.coordinator.empty()) {
    faults.push_back(
        "--coordinator: not given, wanted HOST:PORT of node 0, the same on "
        "all nodes");
  }
  if (options.run_id.empty()) {
    faults.push_back(
        "--run-id: not given, wanted a name for this job, the same on all "
        "nodes (within a Slurm job it is the job's number)");
  }
  if (options.token_file.empty() && !environment.contains("NEXTWORD_TOKEN")) {
    faults.push_back(
        "--token-file: not given, and the variable NEXTWORD_TOKEN is not set; "
        "wanted one of the two, with a secret that is the same on all nodes");
  }
  return faults;
}

// An address that can be given to --coordinator or --listen.
absl::Status CheckAddress(absl::string_view option, const std::string& address,
                          int least_port) {
  NW_ASSIGN_OR_RETURN(const auto parts, SplitAddress(option, address));
  if (parts.second >= least_port) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(option, ": is ", address, ", wanted a port from ",
                   least_port, " to 65535, the same on all nodes"));
}

}  // namespace

absl::StatusOr<LaunchPlan> PlanLaunch(const LaunchOptions& given,
                                      const EnvironmentMap& environment) {
  LaunchOptions options = given;
  if (!options.nnodes.has_value() &&
      environment.contains("SLURM_JOB_NUM_NODES")) {
    NW_RETURN_IF_ERROR(ReadSlurm(environment, &options));
  } else if (options.nnodes.has_value() && *options.nnodes > 1 &&
             !options.node_rank.has_value() &&
             environment.contains("JOB_COMPLETION_INDEX")) {
    NW_ASSIGN_OR_RETURN(const int64_t index,
                        Number(environment, "JOB_COMPLETION_INDEX", 0));
    options.node_rank = static_cast<int>(std::min<int64_t>(index, kMaxNodes));
  }
  if (!options.nnodes.has_value()) options.nnodes = 1;
  if (options.run_id.empty()) {
    options.run_id = ValueOf(environment, "SLURM_JOB_ID");
  }

  LaunchPlan plan;
  plan.nproc = options.nproc;
  plan.nnodes = *options.nnodes;
  if (!options.run_id.empty() && !IsRunId(options.run_id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--run-id: is \"", options.run_id, "\", wanted up to ",
                     kMaxRunId, " letters, digits and any of . _ - :"));
  }
  plan.run_id = options.run_id;
  if (plan.nnodes == 1) {
    if (options.node_rank.value_or(0) != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--node-rank: is ", *options.node_rank,
          ", wanted 0 with a single node; more of them is --nnodes"));
    }
    plan.coordinator =
        options.coordinator.empty() ? "127.0.0.1:0" : options.coordinator;
  } else {
    const std::vector<std::string> faults = Faults(options, environment);
    if (!faults.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a job of ", plan.nnodes, " nodes:\n  ",
                       absl::StrJoin(faults, "\n  ")));
    }
    plan.node_rank = *options.node_rank;
    plan.coordinator = options.coordinator;
  }
  const int least_port = plan.nnodes == 1 ? 0 : 1;
  NW_RETURN_IF_ERROR(
      CheckAddress("--coordinator", plan.coordinator, least_port));
  plan.listen = options.listen.empty() ? plan.coordinator : options.listen;
  NW_RETURN_IF_ERROR(CheckAddress("--listen", plan.listen, least_port));
  return plan;
}

absl::StatusOr<std::pair<std::string, int>> SplitAddress(
    absl::string_view what, absl::string_view address) {
  const absl::Status unreadable = absl::InvalidArgumentError(
      absl::StrCat(what, ": is \"", address,
                   "\", wanted HOST:PORT, for instance node0:29400"));
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) return unreadable;
  absl::string_view host = address.substr(0, colon);
  int port;
  if (!absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 ||
      port > 65535) {
    return unreadable;
  }
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
    host = host.substr(1, host.size() - 2);
  } else if (absl::StrContains(host, ':')) {
    return unreadable;  // Of IPv6, the last number would pass for a port.
  }
  if (host.empty()) return unreadable;
  for (const char c : host) {
    if (!absl::ascii_isgraph(c)) return unreadable;
  }
  return std::make_pair(std::string(host), port);
}

EnvironmentMap RankEnvironment(const LaunchPlan& plan, int local_rank,
                               const std::string& coordinator,
                               const std::string& token,
                               const EnvironmentMap& inherited) {
  const auto address = SplitAddress("the coordinator's address", coordinator);
  NW_CHECK(address.ok()) << address.status();
  EnvironmentMap environment = inherited;
  environment["RANK"] = absl::StrCat(plan.first_rank() + local_rank);
  environment["WORLD_SIZE"] = absl::StrCat(plan.world_size());
  environment["LOCAL_RANK"] = absl::StrCat(local_rank);
  environment["LOCAL_WORLD_SIZE"] = absl::StrCat(plan.nproc);
  environment["MASTER_ADDR"] = address->first;
  environment["MASTER_PORT"] = absl::StrCat(address->second);
  environment["NEXTWORD_COORDINATOR"] = coordinator;
  environment["NEXTWORD_RUN_ID"] = plan.run_id;
  environment["NEXTWORD_TOKEN"] = token;
  environment["NEXTWORD_LAUNCHED"] = absl::StrCat(1);
  return environment;
}

std::vector<std::string> RestartArguments(
    const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0] != "train") return arguments;
  std::vector<std::string> restart;
  absl::string_view resume;
  for (size_t i = 0; i < arguments.size(); ++i) {
    absl::string_view argument = arguments[i];
    if (argument == "--resume" && i + 1 < arguments.size()) {
      resume = arguments[++i];
    } else if (absl::ConsumePrefix(&argument, "--resume=")) {
      resume = argument;
    } else {
      restart.push_back(arguments[i]);
    }
  }
  // A run that began at a checkpoint begins there again, until it has its own.
  const bool is_path = !resume.empty() && resume != "none" &&
                       resume != "auto" && !absl::StartsWith(resume, "auto:");
  restart.push_back("--resume");
  restart.push_back(is_path ? absl::StrCat("auto:", resume)
                    : absl::StartsWith(resume, "auto:") ? std::string(resume)
                                                        : "auto");
  return restart;
}

}  // namespace nextword

// Who takes part in a job and where they meet: from the launcher's options, and
// the variables that a scheduler sets, to the variables of every rank. Pure
// functions, thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_LAUNCH_PLAN_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_LAUNCH_PLAN_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "distributed/launcher/environment.h"

namespace nextword {

// As on the command line; what is empty was not given.
struct LaunchOptions {
  int nproc = 1;
  std::optional<int> nnodes = {};
  std::optional<int> node_rank = {};
  std::string coordinator = {};  // HOST:PORT.
  std::string listen = {};       // HOST:PORT.
  std::string run_id = {};
  std::string token_file = {};
};

struct LaunchPlan {
  int nproc = 1;  // Ranks on each node.
  int nnodes = 1;
  int node_rank = 0;
  // Where all reach the coordinator, and where it listens, which is node 0's
  // business; HOST:PORT. On a single node it picks its port (0) itself.
  std::string coordinator;
  std::string listen;
  // Empty when any will do, on a single node.
  std::string run_id;

  int world_size() const { return nnodes * nproc; }
  int first_rank() const { return node_rank * nproc; }
  // Whether `coordinator` is complete.
  bool has_port() const { return !absl::EndsWith(coordinator, ":0"); }
};

// Completes `options` with what `environment` says:
//   Slurm, unless nnodes is given: nodes, this node, a coordinator on the job's
//     first node, the job's number as the run's id;
//   Kubernetes' indexed jobs, when nnodes is given and node_rank is not:
//     JOB_COMPLETION_INDEX.
// Error: something that a job of several nodes needs is missing or wrong; all
// of it at once, each with what to give.
absl::StatusOr<LaunchPlan> PlanLaunch(const LaunchOptions& options,
                                      const EnvironmentMap& environment);

// "HOST:PORT" or "[IPV6]:PORT" into host (without brackets) and port. Error:
// neither. `what` names the option.
absl::StatusOr<std::pair<std::string, int>> SplitAddress(
    absl::string_view what, absl::string_view address);

// The variables of the rank that is number `local_rank` on this node: those of
// `inherited`, and what the trainer needs to find the others.
// `coordinator` is an address with its port.
EnvironmentMap RankEnvironment(const LaunchPlan& plan, int local_rank,
                               const std::string& coordinator,
                               const std::string& token,
                               const EnvironmentMap& inherited);

// The arguments of a rank that is started again: those of `arguments`, which
// start with the subcommand, but that `train` resumes from the newest
// checkpoint or, while there is none, from where it was told to resume.
std::vector<std::string> RestartArguments(
    const std::vector<std::string>& arguments);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_LAUNCH_PLAN_H_

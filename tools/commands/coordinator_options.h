// The options about a job's coordinator that `nextword launch` takes and hands
// on to `nextword coordinator`.
#ifndef NEXTWORD_TOOLS_COMMANDS_COORDINATOR_OPTIONS_H_
#define NEXTWORD_TOOLS_COMMANDS_COORDINATOR_OPTIONS_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "distributed/rendezvous/coordinator.h"

namespace nextword {

struct CoordinatorOptions {
  double heartbeat_timeout = 10;  // In seconds, like the others.
  double start_timeout = 600;
  std::vector<std::string> phase_timeouts = {};  // As on the command line.
  std::string tls_certificate, tls_key;

  // Adds the options; this must outlive `command`.
  void AddTo(CLI::App& command);

  // The arguments that give another process the same options.
  std::vector<std::string> Arguments() const;

  // The coordinator's; listen, run and token are left to fill in. Error: a
  // phase's timeout that cannot be read.
  absl::StatusOr<Coordinator::Options> Resolve() const;
};

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_COORDINATOR_OPTIONS_H_

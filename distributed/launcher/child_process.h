// A process that this one starts and that does not outlive it.
// Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_CHILD_PROCESS_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_CHILD_PROCESS_H_

#include <sys/types.h>

#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "distributed/launcher/environment.h"
#include "distributed/launcher/file_descriptor.h"

namespace nextword {

struct ChildCommand {
  std::string path;
  std::vector<std::string> arguments;  // The program's name first.
  EnvironmentMap environment;
};

// Whoever destroys one of a living process leaves it alone.
class ChildProcess {
 public:
  // Where a child finds the descriptor that it is given.
  static constexpr int kGivenDescriptor = 3;

  // Starts `command` with the signal mask `mask`, nothing to read on standard
  // input, its output into pipes, SIGPIPE ignored, and of other open files
  // `given` alone, if that is not -1. It leads a process group of its own, so
  // that a terminal's Ctrl-C does not reach it, and is killed when the calling
  // thread, which is to be the process's first, ends. Error: it cannot be
  // started.
  static absl::StatusOr<ChildProcess> Start(const ChildCommand& command,
                                            const sigset_t& mask,
                                            int given = -1);

  pid_t pid() const { return pid_; }

  // What it writes; reads do not wait.
  const FileDescriptor& output() const { return output_; }
  const FileDescriptor& errors() const { return errors_; }

  // Sends it a signal, unless it has ended.
  void Signal(int signal) const;
  // Ends it at once, stopped or not, and with it the processes that it has
  // started, unless they have left its group.
  void Kill() const;

  // waitpid's status once it has ended. Does not wait. Processes that it has
  // started and left behind in its group are killed.
  std::optional<int> Reap();
  bool has_ended() const { return ended_; }

 private:
  ChildProcess() = default;

  pid_t pid_ = -1;
  bool ended_ = false;
  FileDescriptor output_, errors_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_CHILD_PROCESS_H_

// The signals that a process is told to end by, and the end of its children,
// as something to poll. Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_SIGNALS_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_SIGNALS_H_

#include <csignal>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace nextword {

// While one lives, SIGTERM, SIGINT, SIGHUP and SIGUSR1 do not end the process
// but wait to be read, and so does SIGCHLD; a write to a closed pipe is an
// error and no signal. A signal that the process was started to ignore (nohup)
// stays ignored. To be made before any other thread, since threads take the
// mask of the one that starts them.
class SignalReader {
 public:
  static absl::StatusOr<std::unique_ptr<SignalReader>> Create();
  ~SignalReader();  // As it was before.
  SignalReader(const SignalReader&) = delete;
  SignalReader& operator=(const SignalReader&) = delete;

  // Readable when a signal waits.
  int fd() const { return fd_; }

  // The next signal that waits; nothing when none does.
  std::optional<int> Next();

  // The mask before, which belongs to every child.
  const sigset_t& original_mask() const { return original_mask_; }

 private:
  explicit SignalReader(const sigset_t& original_mask)
      : original_mask_(original_mask) {}

  const sigset_t original_mask_;
  int fd_ = -1;
};

// "signal 9 (Killed)".
std::string DescribeSignal(int signal);

// How a process ended: "exit code 3", "killed by signal 9 (Killed)".
// `wait_status` is waitpid's.
std::string DescribeEnd(int wait_status);

// The shell's exit code: 128 + the signal's number when one ended it.
int ExitCodeOf(int wait_status);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_SIGNALS_H_

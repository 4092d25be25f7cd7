// The launcher's side of the talk with the coordinator: connects in the
// background, passes on what goes wrong elsewhere and reports what goes wrong
// here. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_COORDINATOR_LINK_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_COORDINATOR_LINK_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "distributed/rendezvous/launcher_client.h"

namespace nextword {

class CoordinatorLink {
 public:
  struct Options {
    // Where, as whom; its callbacks are set by this class.
    LauncherClient::Options client;
    // Called from other threads, not after Close: the job was aborted.
    std::function<void(const std::string& sentence)> on_abort;
    // The coordinator was lost and is not back after 2 s.
    std::function<void()> on_unreachable = [] {};
    // The coordinator refuses this launcher or cannot be reached.
    std::function<void(const std::string& sentence)> on_error;
  };

  explicit CoordinatorLink(Options options);
  ~CoordinatorLink();  // Close(0).
  CoordinatorLink(const CoordinatorLink&) = delete;
  CoordinatorLink& operator=(const CoordinatorLink&) = delete;

  // To be called before ranks are started. Connects to `address` the first
  // time; later, what it hears of the ranks before is not told any more.
  void Start(const std::string& address);

  // Tells how a rank ended, soon after this returns, or once connected.
  void Report(int rank, pid_t pid, const std::string& how);

  // Waits until what was reported is told, `patience` at most. Nothing to wait
  // for unless connected.
  void Flush(absl::Duration patience);

  // Disconnects. False: after `patience`, a thread is still trying to reach a
  // coordinator; the process is then best ended by _exit.
  bool Close(absl::Duration patience);

 private:
  struct State;

  const std::shared_ptr<State> state_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_COORDINATOR_LINK_H_

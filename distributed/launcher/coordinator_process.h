// The job's coordinator as a child of node 0's launcher: started, listened to,
// and started again when it dies. Not thread-safe.
//
// Both talk over a socket, the child's descriptor 3: the child writes its
// address and a newline once it listens. At the end of the job the launcher
// closes its side, after "done" and a newline when the ranks of other nodes are
// still to end in order. A coordinator ends by that and not by signals, which a
// scheduler may send to all processes of a job at once.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_COORDINATOR_PROCESS_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_COORDINATOR_PROCESS_H_

#include <poll.h>

#include <csignal>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "distributed/launcher/child_process.h"
#include "distributed/launcher/output_merger.h"
#include "distributed/launcher/restart_policy.h"

namespace nextword {

class CoordinatorProcess {
 public:
  // The command of one that listens at HOST:PORT.
  using CommandFunction =
      std::function<ChildCommand(const std::string& listen)>;

  enum class Event {
    kNone,
    kListens,  // address() is known.
    kDied,     // It will be back.
    kGivenUp,  // It died too often; last_end() and last_exit_code() say how.
    kEnded,    // After Finish.
  };

  // `output` outlives it. `listen` may have port 0; a coordinator that is
  // started again listens at the port of the first.
  CoordinatorProcess(CommandFunction command, std::string listen,
                     const RestartPolicy::Options& restarts,
                     const sigset_t& mask, OutputMerger* output);
  ~CoordinatorProcess();  // Kills it.
  CoordinatorProcess(const CoordinatorProcess&) = delete;
  CoordinatorProcess& operator=(const CoordinatorProcess&) = delete;

  // Adds what to wait for.
  void Poll(std::vector<pollfd>* polled) const;
  // When Update is due though nothing has happened.
  absl::Time due() const { return child_.has_value() ? kNever : start_at_; }

  // Starts it when that is due, hears it and reaps it. At most one event a
  // call; to be called until there is none.
  Event Update(absl::Time now);

  // Where it listens; empty while it does not.
  const std::string& address() const { return address_; }
  absl::Time started_at() const { return started_at_; }
  // "killed by signal 9 (Killed)".
  const std::string& last_end() const { return last_end_; }
  int last_exit_code() const { return last_exit_code_; }

  // The job is over. To `wait` is to let other nodes' ranks end in order, too.
  void Finish(bool wait);
  // Ends it at once.
  void Kill();
  bool has_ended() const { return !child_.has_value(); }

 private:
  static constexpr absl::Time kNever = absl::InfiniteFuture();

  absl::Status Start();
  bool ReadAddress();
  Event OnEnd(absl::Time now);

  const CommandFunction command_;
  std::string listen_;
  RestartPolicy restarts_;
  const sigset_t mask_;
  OutputMerger* const output_;

  std::optional<ChildProcess> child_;
  FileDescriptor control_;
  std::string said_;  // Of an address not yet complete.
  std::string address_;
  absl::Time start_at_ = absl::InfinitePast();
  absl::Time started_at_;
  bool finishing_ = false;
  std::string last_end_;
  int last_exit_code_ = 1;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_COORDINATOR_PROCESS_H_

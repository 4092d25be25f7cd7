// The watch over the ranks of one node: starts them, passes on their output and
// the signals that are meant for them, and starts them again after a failure.
//
// Run takes the calling thread, the process's first, until all is over. Abort,
// Fail, CoordinatorIsUnreachable and Say are thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_SUPERVISOR_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_SUPERVISOR_H_

#include <sys/types.h>

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "distributed/launcher/child_process.h"
#include "distributed/launcher/coordinator_process.h"
#include "distributed/launcher/file_descriptor.h"
#include "distributed/launcher/output_merger.h"
#include "distributed/launcher/restart_policy.h"
#include "distributed/launcher/signals.h"

namespace nextword {

class Supervisor {
 public:
  // The exit code of a rank that was stopped by others, or by something that
  // may pass, and wants to be started again (EX_TEMPFAIL).
  static constexpr int kRestartMe = 75;
  // Of one that was asked to stop, and has saved: no failure.
  static constexpr int kStopped = 85;

  // In the sentence about a rank that is not started again; launchers that
  // read it in the reason of an abort give up, too.
  static constexpr absl::string_view kNoRestart = ", which no restart mends";

  struct Options {
    int ranks = 1;  // On this node.
    int first_rank = 0;
    int world_size = 1;  // Output of a job of one rank has no prefix.
    // The command of a rank; `restarted` is false the first time.
    std::function<ChildCommand(int local_rank, bool restarted,
                               const std::string& coordinator)>
        command;

    // Where ranks reach the coordinator. Empty: where the one says that
    // `coordinator_command` starts, if any, with `listen` for its address.
    std::string coordinator = {};
    CoordinatorProcess::CommandFunction coordinator_command = nullptr;
    std::string listen = {};
    // For one to come up, before it may be said to hang.
    absl::Duration coordinator_start = absl::Seconds(5);

    std::string log_dir = {};  // For RANK.log of each; empty: none.
    RestartPolicy::Options restarts = {};
    // For ranks to end by themselves before they are killed.
    absl::Duration grace = absl::Seconds(5);
    // For the coordinator to see ranks of other nodes end, after ours have.
    absl::Duration last_grace = absl::Seconds(60);

    // Called from Run; none may take long. Before each start of ranks:
    std::function<void(const std::string& coordinator)> on_start = nullptr;
    // A rank failed by itself, "killed by signal 9 (Killed)":
    std::function<void(int rank, pid_t pid, const std::string& how)>
        on_failure = nullptr;
    // At the end, while the coordinator is still there:
    std::function<void()> on_end = nullptr;

    int output = 1, errors = 2;  // Descriptors.
  };

  // Takes charge of this process's signals until it is destroyed; make it
  // before any other thread. Error: the system's.
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(Options options);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // To the end of the job, its restarts included. The exit code: 0 when all
  // ranks succeeded; of the rank that failed first, 128 + the signal's number
  // if one killed it; 128 + the number of the signal that the user ended the
  // job with, if no rank failed.
  int Run();

  // The job was aborted elsewhere: ranks that have not ended within the grace
  // are killed, and the job starts again.
  void Abort(absl::string_view sentence);
  // Something that no restart mends: ranks are stopped, exit code 1.
  void Fail(absl::string_view sentence);

  // Our coordinator cannot be reached: if it has not just been started, it
  // hangs, and is killed, to be started again.
  void CoordinatorIsUnreachable();

  // A line on the error stream, between those of the ranks.
  void Say(absl::string_view line);

 private:
  enum class Phase { kPausing, kRunning, kStopping, kEnding, kEnded };
  struct Rank {
    int rank;
    ChildProcess process;
  };
  struct Notice {
    std::string sentence;
    bool final;
  };
  // Of one start of all ranks.
  struct Attempt {
    absl::Time started_at;
    std::optional<int> exit_code;  // Of the first rank that failed.
    std::optional<bool> restart;   // Whether what came first may pass.
    absl::Time kill_at = absl::InfiniteFuture();
    bool killed = false;
  };

  Supervisor(Options options, std::unique_ptr<SignalReader> signals, int wake);

  void Wait();
  absl::Time NextDeadline() const;
  void Wake();

  void StartRanks(absl::Time now);
  void OnSignal(int signal);
  void OnNotice(const Notice& notice, absl::Time now);
  void UpdateCoordinator(absl::Time now);
  void KillHungCoordinator(absl::Time now);
  void ReapRanks(absl::Time now);
  void OnRankEnd(const Rank& rank, int wait_status, absl::Time now);
  void OnAttemptEnd(absl::Time now);
  void OnTime(absl::Time now);

  // The ranks are to end: `first_restart` unless something came before.
  void Stop(bool first_restart, absl::Time now);
  void KillRanks();
  void Finish(int exit_code, absl::Time now);
  void EndWhenQuiet(absl::Time now);

  const Options options_;
  const std::unique_ptr<SignalReader> signals_;
  const FileDescriptor wake_;
  OutputMerger output_;
  std::unique_ptr<CoordinatorProcess> coordinator_;
  bool coordinator_hung_ = false;  // And was killed.
  RestartPolicy restarts_;

  std::mutex mutex_;
  std::vector<Notice> notices_;
  bool coordinator_unreachable_ = false;

  Phase phase_ = Phase::kPausing;
  bool restarted_ = false;
  absl::Time start_at_ = absl::InfinitePast();
  std::list<Rank> ranks_;  // That live.
  Attempt attempt_;
  int exit_code_ = 0;
  absl::Time end_by_ = absl::InfiniteFuture();
  std::optional<int> user_signal_;  // The first.
  std::optional<int> stop_signal_;  // The first that is not SIGUSR1.
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_SUPERVISOR_H_

// A launcher's link to the coordinator: hears of aborted generations, and
// reports how the ranks ended that it started.
//
// Stays over many generations; when the coordinator ends and comes back, it
// connects again. A thread of its own works for it. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_LAUNCHER_CLIENT_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_LAUNCHER_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace nextword {

class LauncherClient {
 public:
  struct Options {
    std::string address;  // HOST:PORT of the coordinator.
    std::string node;     // This node, for sentences; empty: HostName().
    std::string run_id;
    std::string token;
    std::string tls_ca_file = {};  // As of RendezvousClient.
    // How long to try to reach the coordinator, at first and after each loss.
    absl::Duration start_timeout = absl::Minutes(10);
    // A coordinator that does not answer for so long is given up.
    absl::Duration coordinator_timeout = absl::Seconds(10);
    // Called from a thread of the client, at most once per generation, with
    // one sentence when that generation was aborted or its ranks could not come
    // together; and once per loss when the coordinator is lost while one goes
    // on (and when it does not come back within start_timeout). It must not
    // destroy the client.
    std::function<void(const std::string& sentence)> on_abort = nullptr;
    // The same for a coordinator that was lost and is not back after 2 s: it
    // may hang.
    std::function<void()> on_unreachable = nullptr;
  };

  // Returns once the coordinator has answered. Errors: UNAVAILABLE when there
  // is none within start_timeout, UNAUTHENTICATED, INVALID_ARGUMENT for a
  // coordinator of another run.
  static absl::StatusOr<std::unique_ptr<LauncherClient>> Connect(
      const Options& options);

  // Disconnects, which has no consequences for the job.
  virtual ~LauncherClient() = default;
  LauncherClient(const LauncherClient&) = delete;
  LauncherClient& operator=(const LauncherClient&) = delete;

  // Tells how a rank of this node ended: "killed by signal 9 (Killed)". If the
  // rank had not left in order, the job is aborted with "rank 1 on node-b (pid
  // 4711) ended in backward of step 12: SENTENCE; ...". To be called when the
  // process is gone, and before the rank is started again.
  // `pid` is that process's, so that a late report is not taken for the rank's
  // successor; 0: unknown. A report of a job already aborted is OK and ignored.
  virtual absl::Status Report(int rank, absl::string_view sentence,
                              int64_t pid = 0) = 0;

  // To be called before ranks are started again: what becomes of generations
  // that began before is no news for them, and a network that was cut may bring
  // it late. Until the generation of the new ones begins, it is for them to
  // notice that the coordinator is lost.
  virtual void ExpectNextGeneration() = 0;

  // The newest generation that has begun; 0 before the first.
  virtual int64_t generation() const = 0;

  // Whether the coordinator is there right now.
  virtual bool connected() const = 0;

 protected:
  LauncherClient() = default;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_LAUNCHER_CLIENT_H_

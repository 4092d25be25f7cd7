// A rank's link to the coordinator of its job: joins, tells what it is doing
// (activity.h), and learns when the job is aborted.
//
// While one lives, two threads of its own work for it. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_RENDEZVOUS_CLIENT_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_RENDEZVOUS_CLIENT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace nextword {

class RendezvousClient {
 public:
  struct Options {
    std::string address;  // HOST:PORT of the coordinator.
    int rank = 0;
    int world_size = 1;
    std::string run_id;
    std::string token;
    std::string host;  // Of this rank, for sentences; empty: HostName().
    // PEM file with who may have signed the coordinator's certificate, which
    // must be one for the host in `address`. Empty: no TLS.
    std::string tls_ca_file = {};
    // Name -> value, which must be the same on all ranks: "config", "corpus".
    std::map<std::string, std::string> facts = {};
    // How long to try to reach a coordinator that is not up yet.
    absl::Duration start_timeout = absl::Minutes(10);
    absl::Duration heartbeat_interval = absl::Seconds(1);
    // A coordinator that does not answer for so long is given up.
    absl::Duration coordinator_timeout = absl::Seconds(10);
    // Called at most once, from a thread of the client, with one sentence: when
    // the job is aborted or the coordinator is lost after all ranks had joined.
    // Not for this rank's own Fail, nor after Leave. May be called before Join
    // has returned. It must not destroy the client.
    std::function<void(const std::string& sentence)> on_abort = nullptr;
  };

  // Returns when all ranks are here, which the coordinator bounds. Says in the
  // log every 10 s what it waits for. Errors: UNAVAILABLE when there is no
  // coordinator within start_timeout or when it is lost, UNAUTHENTICATED,
  // ALREADY_EXISTS when a living rank has this number, INVALID_ARGUMENT when
  // run or world size are other ones, FAILED_PRECONDITION when ranks differ in
  // a fact, DEADLINE_EXCEEDED when ranks are missing, ABORTED when a launcher
  // reported that a rank could not start; each with a sentence for the user.
  static absl::StatusOr<std::unique_ptr<RendezvousClient>> Join(
      const Options& options);

  // Ends the connection. Without Leave or Fail before, the coordinator takes
  // this rank for dead and aborts the job.
  virtual ~RendezvousClient() = default;
  RendezvousClient(const RendezvousClient&) = delete;
  RendezvousClient& operator=(const RendezvousClient&) = delete;

  // Counts the coordinator's attempts to run this job, those included whose
  // ranks never came together.
  virtual int64_t generation() const = 0;

  // Values that ranks tell each other; they live for one generation. Keys up
  // to 1 KiB, values up to 1 MiB. The last Put of a key wins. Get waits until
  // the key is there. Errors: DEADLINE_EXCEEDED with the key, ABORTED with the
  // sentence once the job is aborted, UNAVAILABLE.
  virtual absl::Status Put(absl::string_view key, absl::string_view value) = 0;
  virtual absl::StatusOr<std::string> Get(absl::string_view key,
                                          absl::Duration timeout) = 0;

  // OK while the job goes on; then ABORTED or UNAVAILABLE with the sentence.
  virtual absl::Status status() const = 0;

  // This rank is done. The last call, but for the destructor.
  virtual absl::Status Leave() = 0;

  // Aborts the job: all get "rank 1 on node-b: SENTENCE". The last call, but
  // for the destructor.
  virtual absl::Status Fail(absl::string_view sentence) = 0;

 protected:
  RendezvousClient() = default;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_RENDEZVOUS_CLIENT_H_

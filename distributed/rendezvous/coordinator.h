// The coordinator of a training job: the one server that all ranks and all
// launchers talk to. It brings the ranks together, keeps the few values that
// they tell each other, watches over them, and turns what goes wrong into one
// sentence that everybody gets.
//
// A job may be started many times while its coordinator lives. A generation
// begins when all ranks have joined, and ends when all have left in order or
// when it is aborted. Then the ranks may join for the next one.
//
// Thread-safe. The rules are in job_state.h; this is their gRPC server.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_COORDINATOR_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_COORDINATOR_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "distributed/rendezvous/phase_deadlines.h"

namespace nextword {

class Coordinator {
 public:
  struct Options {
    // HOST:PORT to listen at, and nowhere else; port 0 for any free one.
    std::string listen = "127.0.0.1:0";
    int world_size = 1;
    std::string run_id;
    // The secret that every client must send; not empty. Never logged. Without
    // TLS it crosses the network in the clear.
    std::string token;
    // PEM files; both or none. Empty: no TLS.
    std::string tls_certificate_file = {};
    std::string tls_key_file = {};
    // A rank that is not heard for so long is given up.
    absl::Duration heartbeat_timeout = absl::Seconds(10);
    // From the first rank that joins to the last.
    absl::Duration start_timeout = absl::Minutes(10);
    PhaseDeadlines phase_deadlines = {};
  };

  // Listens when it returns. Errors: an address where it cannot listen, files
  // that cannot be read, options out of range.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(
      const Options& options);

  // Stops.
  virtual ~Coordinator() = default;
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  // HOST:PORT with the real port.
  virtual std::string address() const = 0;

  // Blocks until a generation ends that no earlier call has returned: OK when
  // all its ranks left in order, ABORTED with the sentence that its ranks got
  // (also when they never came together), CANCELLED after Stop. The last one,
  // if several ended in between.
  virtual absl::Status Wait() = 0;

  // Aborts the running generation, ends all connections and waits for that.
  virtual void Stop() = 0;

 protected:
  Coordinator() = default;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_COORDINATOR_H_

// Coordinators, ranks and launchers for tests: of run "run", whose token is
// "secret".
#ifndef NEXTWORD_TESTS_TESTING_RENDEZVOUS_H_
#define NEXTWORD_TESTS_TESTING_RENDEZVOUS_H_

#include <sys/types.h>

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "distributed/rendezvous/coordinator.h"
#include "distributed/rendezvous/launcher_client.h"
#include "distributed/rendezvous/rendezvous_client.h"

namespace nextword {

// For what must happen, however busy the machine.
inline constexpr absl::Duration kPatience = absl::Seconds(8);

// Aborts when it cannot start.
std::unique_ptr<Coordinator> StartCoordinator(
    int world_size, Coordinator::Options options = {});

// At "node-RANK".
RendezvousClient::Options RankOptions(const std::string& address, int rank,
                                      int world_size);

// At "node-b".
LauncherClient::Options LauncherOptions(const std::string& address);

using Joined = absl::StatusOr<std::unique_ptr<RendezvousClient>>;

// Joins with each of `options` at the same time.
std::vector<Joined> JoinTogether(
    const std::vector<RendezvousClient::Options>& options);

// Whether `condition` comes true; looks every few milliseconds.
bool Eventually(const std::function<bool()>& condition);

// Sentences, as on_abort hears them. Thread-safe.
class Heard {
 public:
  // Must not be called after this is gone.
  std::function<void(const std::string&)> Listener();

  // The `number`-th from 1, once it is there; "" when it does not come.
  std::string Wait(size_t number = 1);

  size_t count() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable more_;
  std::vector<std::string> sentences_;
};

// tests/rendezvous_rank: a rank in a process of its own, on "node-b". It has
// put "here" once it has joined. Killed when this is destroyed.
class RankProcess {
 public:
  RankProcess(const std::string& address, int rank, int world_size,
              const std::string& phase, const std::string& detail, int step);
  ~RankProcess();
  RankProcess(const RankProcess&) = delete;
  RankProcess& operator=(const RankProcess&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int signal);
  // Returns its exit code, or 128 + the signal that ended it.
  int Wait();

 private:
  pid_t pid_;
};

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_RENDEZVOUS_H_

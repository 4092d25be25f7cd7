#include "tests/testing_world.h"

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "autograd/base/check.h"
#include "autograd/base/parallel.h"
#include "distributed/collectives/connect.h"

namespace nextword {
namespace {

class MapStore : public KeyValueStore {
 public:
  absl::Status Put(const std::string& key, const std::string& value) override {
    const absl::MutexLock lock(&mutex_);
    values_[key] = value;
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Get(const std::string& key,
                                  absl::Duration timeout) override {
    const absl::MutexLock lock(&mutex_);
    const auto is_there = [&] { return values_.count(key) > 0; };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&is_there), timeout)) {
      return absl::DeadlineExceededError(absl::StrCat("no ", key));
    }
    return values_[key];
  }

 private:
  absl::Mutex mutex_;
  std::map<std::string, std::string> values_;
};

}  // namespace

void InWorld(int ranks, const std::function<void(Communicator*)>& body,
             const WorldOptions& options) {
  if (ranks == 1) return body(Alone());
  MapStore store;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      SetNumThreads(1);
      ConnectOptions gloo;
      gloo.rank = rank;
      gloo.world_size = ranks;
      gloo.timeout = options.timeout;
      const auto communicator = Connect(gloo, &store);
      NW_CHECK(communicator.ok()) << communicator.status().message();
      body(communicator->get());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace nextword

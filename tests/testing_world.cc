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

void InGroups(int ranks, int shard_ranks,
              const std::function<void(const RankGroups&)>& body,
              const WorldOptions& options) {
  if (ranks == 1) return body(Alone());
  MapStore store;
  const auto connect = [&](int rank, int world_size, const std::string& group) {
    auto communicator = Connect({.rank = rank,
                                 .world_size = world_size,
                                 .group = group,
                                 .timeout = options.timeout},
                                &store);
    NW_CHECK(communicator.ok()) << communicator.status().message();
    return *std::move(communicator);
  };
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      SetNumThreads(1);
      const auto all = connect(rank, ranks, "all");
      std::unique_ptr<Communicator> background;
      if (rank < shard_ranks) {
        background = connect(rank, shard_ranks, "background");
      }
      if (shard_ranks == ranks) {
        return body({all.get(), all.get(), background.get()});
      }
      const int place = rank % shard_ranks, block = rank / shard_ranks;
      const auto shards =
          connect(place, shard_ranks, absl::StrCat("shards-", block));
      shards->AddReplicas(connect(block, ranks / shard_ranks,
                                  absl::StrCat("replicas-", place)));
      body({all.get(), shards.get(), background.get()});
    });
  }
  for (std::thread& thread : threads) thread.join();
}

void InWorld(int ranks, const std::function<void(Communicator*)>& body,
             const WorldOptions& options) {
  InGroups(
      ranks, ranks, [&](const RankGroups& groups) { body(groups.all); },
      options);
}

}  // namespace nextword

#include "distributed/world.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/base/directory.h"
#include "autograd/base/file.h"
#include "autograd/base/hash.h"
#include "autograd/base/status.h"
#include "configs/batch_config.h"
#include "distributed/collectives/connect.h"
#include "distributed/config_facts.h"
#include "distributed/device.h"
#include "distributed/rendezvous/activity.h"
#include "distributed/rendezvous/coordinator.h"
#include "distributed/rendezvous/local_address.h"
#include "distributed/rendezvous/rendezvous_client.h"

namespace nextword {
namespace {

absl::StatusOr<std::string> BinaryFingerprint() {
  NW_ASSIGN_OR_RETURN(const MappedFile file,
                      MappedFile::Open("/proc/self/exe"));
  return HexDigits(Hash64(file.bytes()));
}

class WorldOfOne : public World {
 public:
  RankGroups groups() override { return Alone(); }
  absl::Status Leave(absl::Status outcome) override { return outcome; }
};

// Leaves the last events in the run's folder, for whoever looks into a failure.
void WriteEvents(const std::string& run_dir, int rank,
                 const std::string& sentence) {
  // A run that is refused before it begins leaves nothing behind.
  if (run_dir.empty() || !IsDirectory(run_dir)) return;
  const std::string folder = absl::StrCat(run_dir, "/events");
  if (!MakeDirectories(folder).ok()) return;
  std::string text;
  for (const std::string& event : RecentEvents()) {
    absl::StrAppend(&text, event, "\n");
  }
  absl::StrAppend(&text, absl::FormatTime(absl::Now()), " ", sentence, "\n");
  WriteFileAtomically(absl::StrCat(folder, "/rank-", rank, ".log"), text)
      .IgnoreError();
}

class ConnectedWorld : public World {
 public:
  static absl::StatusOr<std::unique_ptr<World>> Join(
      const Place& place, const TrainConfig& config) {
    auto world =
        std::unique_ptr<ConnectedWorld>(new ConnectedWorld(place, config));
    NW_RETURN_IF_ERROR(world->Meet(config));
    return world;
  }

  ~ConnectedWorld() override {
    background_.reset();
    shards_.reset();
    all_.reset();
    client_.reset();
  }

  RankGroups groups() override {
    Communicator* const background = background_.get();
    if (shards_ != nullptr) return {all_.get(), shards_.get(), background};
    const int shards = ShardRanks(distributed_, place_.world_size);
    return {all_.get(), shards == 1 ? Alone() : all_.get(), background};
  }

  absl::Status Leave(absl::Status outcome) override {
    if (outcome.ok()) {
      // Whoever closes its connections may cut off what others still read.
      NW_RETURN_IF_ERROR(all_->Barrier("leave"));
      NW_RETURN_IF_ERROR(client_->Leave());
      // Not before the others have left, too.
      return coordinator_ == nullptr ? outcome : coordinator_->Wait();
    }
    // A connection that broke is the sign of a failure elsewhere, of which the
    // coordinator knows more and is about to tell.
    if (absl::IsUnavailable(outcome)) absl::SleepFor(kPatience);
    WriteEvents(run_dir_, place_.rank, std::string(outcome.message()));
    client_->Fail(outcome.message()).IgnoreError();
    if (absl::IsUnavailable(outcome)) End(outcome.message());
    return outcome;
  }

 private:
  static constexpr absl::Duration kPatience = absl::Seconds(15);

  ConnectedWorld(const Place& place, const TrainConfig& config)
      : place_(place),
        run_dir_(config.run_dir()),
        distributed_(config.distributed()) {}

  absl::Status Meet(const TrainConfig& config) {
    const ActivityScope activity("start");
    if (place_.hosts_coordinator) {
      NW_ASSIGN_OR_RETURN(
          coordinator_,
          Coordinator::Start({.listen = place_.coordinator,
                              .world_size = place_.world_size,
                              .run_id = place_.run_id,
                              .token = place_.token,
                              .phase_deadlines = DefaultPhaseDeadlines()}));
    }
    RendezvousClient::Options options;
    options.address = place_.coordinator;
    options.rank = place_.rank;
    options.world_size = place_.world_size;
    options.run_id = place_.run_id;
    options.token = place_.token;
    options.tls_ca_file = place_.tls_ca_file;
    NW_ASSIGN_OR_RETURN(options.facts["binary"], BinaryFingerprint());
    NW_ASSIGN_OR_RETURN(const Device device, DeviceOf(config.device()));
    options.facts["device"] = DeviceTypeName(device.type);
    options.facts.merge(ConfigFacts(config));
    options.on_abort = [this](const std::string& sentence) {
      WriteEvents(run_dir_, place_.rank, sentence);
      // The others are to hear the sentence from it, too.
      if (coordinator_ != nullptr) coordinator_->Stop();
      End(sentence);
    };
    absl::StatusOr<std::unique_ptr<RendezvousClient>> client =
        RendezvousClient::Join(options);
    // Ranks that differ may agree after somebody has mended one of them.
    if (absl::IsFailedPrecondition(client.status())) {
      return absl::AbortedError(client.status().message());
    }
    NW_ASSIGN_OR_RETURN(client_, std::move(client));
    absl::Status status = Connect(device);
    return status.ok() ? status : Leave(status);
  }

  absl::Status Connect(Device device) {
    ConnectOptions options;
    options.device = device;
    options.rank = place_.rank;
    options.world_size = place_.world_size;
    options.timeout = absl::Seconds(distributed_.timeout_seconds());
    NW_ASSIGN_OR_RETURN(options.address,
                        LocalAddressTowards(place_.coordinator));
    Store store(client_.get());
    NW_ASSIGN_OR_RETURN(all_, nextword::Connect(options, &store));
    const int shards = ShardRanks(distributed_, place_.world_size);
    if (distributed_.sharding() == NONE || shards == 1) return absl::OkStatus();
    if (place_.rank < shards) {
      NW_ASSIGN_OR_RETURN(background_, ConnectBackground(options, shards));
    }
    if (shards == place_.world_size) return absl::OkStatus();
    options.rank = place_.rank % shards;
    options.world_size = shards;
    options.group = absl::StrCat("shards-", place_.rank / shards);
    NW_ASSIGN_OR_RETURN(shards_, nextword::Connect(options, &store));
    options.rank = place_.rank / shards;
    options.world_size = place_.world_size / shards;
    options.group = absl::StrCat("replicas-", place_.rank % shards);
    NW_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> replicas,
                        nextword::Connect(options, &store));
    shards_->AddReplicas(std::move(replicas));
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Communicator>> ConnectBackground(
      ConnectOptions options, int shards) {
    options.world_size = shards;
    options.group = "background";
    options.device = Device::Cpu();
    Store store(client_.get());
    return nextword::Connect(options, &store);
  }

  // From any thread: every checkpoint is complete or not there, whenever its
  // writer ends.
  [[noreturn]] void End(absl::string_view sentence) const {
    // Not through stdio, whose locks a thread may hold that waits in a write.
    const std::string line = absl::StrCat("nextword: ", sentence, "\n");
    alarm(5);
    if (write(STDERR_FILENO, line.data(), line.size()) < 0) {
      // Nobody listens.
    }
    _exit(kAbortedExitCode);
  }

  class Store : public KeyValueStore {
   public:
    explicit Store(RendezvousClient* client) : client_(client) {}
    absl::Status Put(const std::string& key,
                     const std::string& value) override {
      return client_->Put(key, value);
    }
    absl::StatusOr<std::string> Get(const std::string& key,
                                    absl::Duration timeout) override {
      return client_->Get(key, timeout);
    }

   private:
    RendezvousClient* const client_;
  };

  const Place place_;
  const std::string run_dir_;
  const DistributedConfig distributed_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<RendezvousClient> client_;
  std::unique_ptr<Communicator> all_;
  std::unique_ptr<Communicator> shards_;  // Of a part of the ranks.
  std::unique_ptr<Communicator> background_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<World>> World::Join(const Place& place,
                                                   const TrainConfig& config) {
  if (place.world_size == 1) return std::make_unique<WorldOfOne>();
  NW_RETURN_IF_ERROR(CheckRanks(config.batch(), place.world_size));
  NW_RETURN_IF_ERROR(CheckShardRanks(config.distributed(), place.world_size));
  // A peer that is gone is an error of a write, not the end of this process.
  signal(SIGPIPE, SIG_IGN);
  return ConnectedWorld::Join(place, config);
}

}  // namespace nextword

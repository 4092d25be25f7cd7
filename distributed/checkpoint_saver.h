// Writes the checkpoints of a run, one at a time, while training goes on.
//
// Training waits only while weights and moments are copied; a thread of the
// saver's own hashes, writes and syncs the copy, publishes the checkpoint and
// removes old ones. With sharded state, the ranks' threads put the pieces
// together over a communicator of their own. Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_CHECKPOINT_SAVER_H_
#define NEXTWORD_DISTRIBUTED_CHECKPOINT_SAVER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "configs/train_config.pb.h"
#include "distributed/checkpoint.h"
#include "distributed/collectives/rank_groups.h"
#include "distributed/sharded_tensors.h"

namespace nextword {

class CheckpointSaver {
 public:
  enum class Mode {
    kInBackground,  // Unless checkpoint.asynchronous is false.
    kNow,           // What comes after the last step has nothing to wait for.
  };

  // What has become of a save.
  struct Outcome {
    int64_t step = 0;
    absl::Status status;
    absl::Duration stalled;  // Time for which training waited,
    absl::Duration took;     // and until it was done.
    int64_t bytes = 0;       // Of weights and moments, of the lead.
  };

  // The communicators outlive the saver.
  CheckpointSaver(const TrainConfig& config, const RankGroups& groups);
  // Waits for what is under way.
  ~CheckpointSaver();
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  // Takes the memory of copies of these tensors while the caller goes on;
  // without, the first save in the background waits for it.
  void Prepare(const ShardedTensors& weights, const ShardedTensors& moments);

  // Begins to save: `state` on the lead, with `weights` and `moments`, which
  // may change when this returns; training has waited since `start`, when it
  // began to check them. No other save is under way: Wait before.
  // Collective; errors are in the outcome, and only those of an exchange with
  // other ranks are seen by these, too.
  void Save(CheckpointState state, const ShardedTensors& weights,
            const ShardedTensors& moments, Mode mode, absl::Time start);

  // Of a save that is over; each is returned once.
  std::optional<Outcome> Poll();
  // The same, but waits for one that is under way.
  std::optional<Outcome> Wait();

 private:
  struct Job;

  bool TakesPart() const;
  void MakeRoom(const ShardedTensors& weights, const ShardedTensors& moments);
  void Run(Job* job) const;
  absl::Status Write(Job* job) const;

  const TrainConfig config_;
  const RankGroups groups_;
  // The copies of this rank, whose memory is used again and again.
  std::optional<ShardedTensors> weights_, moments_;
  std::unique_ptr<Job> job_;
  std::thread thread_;  // Touches the copies' memory, or does the job.
  std::atomic<bool> prepared_ = false;  // Or it need not go on.
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_CHECKPOINT_SAVER_H_

// The world: all the processes of a training job, and this one's place in it.
//
// `nextword launch` and torchrun-like launchers say in the environment which
// rank a process is. It then joins the job's rendezvous, connects with the
// other ranks, and is watched over: when the job is aborted because another
// rank failed, this process ends, wherever it is, with exit code 75, which
// launchers take for "start me again". Without those variables a process is a
// world of its own, and none of that happens.
#ifndef NEXTWORD_DISTRIBUTED_WORLD_H_
#define NEXTWORD_DISTRIBUTED_WORLD_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "configs/train_config.pb.h"
#include "distributed/collectives/rank_groups.h"
#include "distributed/place.h"

namespace nextword {

// The exit code of a process that ends because of others: EX_TEMPFAIL.
inline constexpr int kAbortedExitCode = 75;

// That of a process that was asked to stop, and has saved: the same command
// with --resume auto goes on. (HTCondor's usual code for this.)
inline constexpr int kStoppedExitCode = 85;

// Not thread-safe.
class World {
 public:
  // Returns when all ranks are there and connected. `config` must be the same
  // on all, but for what may differ between machines (threads). Errors: what
  // RendezvousClient::Join and the collectives' library say.
  static absl::StatusOr<std::unique_ptr<World>> Join(const Place& place,
                                                     const TrainConfig& config);

  // Without Leave before, the others take this rank for dead.
  virtual ~World() = default;

  virtual RankGroups groups() = 0;

  // Ends this rank's part of the job, which ended with `outcome`: tells the
  // others when it is an error of this rank. Returns it. Does not return when
  // it is the error of another rank.
  virtual absl::Status Leave(absl::Status outcome) = 0;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_WORLD_H_

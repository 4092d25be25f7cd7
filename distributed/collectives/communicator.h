// The communicator: sums and copies between the ranks of a job.
//
// Every rank calls the same collectives, in the same order, with tensors of the
// same size. They run one after the other on a thread of the communicator while
// the caller goes on; Wait waits for one. Sums over ranks follow the balanced
// binary tree ((0 + 1) + (2 + 3)) + ..., whatever the network does, so that
// they have the same bits everywhere and as many ranks as lanes give what one
// rank gives that adds its lanes in that order (docs/distributed.md).
//
// After an error, such as a rank that is gone or a deadline that has passed,
// the communicator is of no more use: all that follows fails with that error.
// One thread at a time may call.
#ifndef NEXTWORD_DISTRIBUTED_COLLECTIVES_COMMUNICATOR_H_
#define NEXTWORD_DISTRIBUTED_COLLECTIVES_COMMUNICATOR_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "autograd/tensor/tensor.h"
#include "distributed/collectives/pieces.h"

namespace nextword {

// A collective under way. A handle; copies share it.
class Work {
 public:
  // One that is over.
  explicit Work(absl::Status status);

  // Until it is over; the communicator counts the time. Error: what went wrong,
  // with the operation's name.
  absl::Status Wait() const;

 private:
  friend class Communicator;
  Work();

  struct State;
  std::shared_ptr<State> state_;
};

class Communicator {
 public:
  // Those of derived classes wait for what is under way (Finish).
  virtual ~Communicator();

  int rank() const { return rank_; }
  int world_size() const { return world_size_; }

  // From now on, ReduceScatter adds up over `replicas` too, if this world has
  // more than one rank: the ranks of other
  // worlds like this one that have this rank's number in theirs. They are
  // numbered so that this one's sums are subtrees of theirs.
  void AddReplicas(std::unique_ptr<Communicator> replicas);

  // In all of these, `data` is a flat tensor of any dtype that can be summed,
  // on the communicator's device (those of Broadcast and Gather may also be on
  // the CPU); it must not be touched until the work is over. `name` is a
  // literal, for messages and traces.

  // In place: all ranks then hold the sum over ranks. Sends what a ring does:
  // 2 (P - 1) / P of the data.
  Work AllReduce(Tensor data, const char* name);
  // Piece rank() of `data` then holds the sum over ranks of that piece; the
  // others are discarded (tensor.h).
  Work ReduceScatter(Tensor data, const char* name);
  // Every rank then has piece r of rank r; `sizes`, one per rank, are those of
  // the pieces, if they are not those of PieceOf.
  Work AllGather(Tensor data, const char* name);
  Work AllGather(Tensor data, std::vector<int64_t> sizes, const char* name);
  // `data` of rank `root`, for all.
  Work Broadcast(Tensor data, int root, const char* name);
  // Row r of `rows`, [world_size, n], comes from rank r, which passes `row`.
  Work Gather(Tensor row, Tensor rows, const char* name);

  // When it returns OK, every rank has called it.
  absl::Status Barrier(const char* name);

  // Bytes that this rank has sent to others, of tensors; to replicas, too.
  int64_t bytes_sent() const;
  // Time in which collectives were under way.
  absl::Duration busy() const { return absl::Nanoseconds(busy_ns_.load()); }
  // Time for which they were waited for.
  absl::Duration waited() const {
    return absl::Nanoseconds(waited_ns_->load());
  }

 protected:
  Communicator(int rank, int world_size);

  // Of a device's library, called on the communicator's thread, with more than
  // one rank.

  // Exchanges pieces: `send` is the whole tensor, whose piece r goes to rank r;
  // `receive`, [world_size, size of piece rank()], gets a row from each rank.
  virtual absl::Status DoAllToAll(const Tensor& send, Tensor* receive) = 0;
  virtual absl::Status DoAllGather(Tensor* data,
                                   const std::vector<int64_t>& sizes) = 0;
  virtual absl::Status DoBroadcast(Tensor* data, int root) = 0;
  virtual absl::Status DoGather(const Tensor& row, Tensor* rows) = 0;

  // For devices that work on their own. Now, on the caller's thread, is what
  // the device has been given so far; Begin makes what the communicator's
  // thread gives it from then on come after that; End returns when all that is
  // done.
  virtual std::shared_ptr<const void> Now() { return nullptr; }
  virtual absl::Status Begin(const std::shared_ptr<const void>& /*now*/) {
    return absl::OkStatus();
  }
  virtual absl::Status End() { return absl::OkStatus(); }

  void CountBytes(int64_t sent) { bytes_sent_ += sent; }

  // To be called by the destructors of what overrides the above.
  void Finish();

 private:
  struct Queue;

  Work Start(const char* name, std::function<absl::Status()> run);
  absl::Status SumPieces(const Tensor& data);
  // Of the pieces of `data`, as PieceOf has it.
  std::vector<int64_t> SizesOf(const Tensor& data) const;

  const int rank_;
  const int world_size_;
  std::atomic<int64_t> bytes_sent_ = 0;
  std::atomic<int64_t> busy_ns_ = 0;
  // Shared with what may be waited for when this is gone.
  std::shared_ptr<std::atomic<int64_t>> waited_ns_ =
      std::make_shared<std::atomic<int64_t>>(0);
  std::unique_ptr<Communicator> replicas_;
  std::unique_ptr<Queue> queue_;  // None for one rank.
};

// That of a process on its own, a world of one rank: everything is done at
// once, and nothing is sent. Has no state; for all threads.
Communicator* Alone();

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COLLECTIVES_COMMUNICATOR_H_

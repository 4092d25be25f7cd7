// Sums over the lanes of a step, in one fixed order for any number of ranks.
//
// A step's gradient is the sum over its lanes along a balanced binary tree:
// ((0 + 1) + (2 + 3)) + ... Within a lane, micro-batches add one after the
// other. Either each rank has a whole subtree of lanes, adds them up, and the
// communicator adds the ranks' sums along the rest of the tree; or the ranks
// take neighbouring lanes at the same time, the communicator adds these, and
// each rank adds up its pieces of the sums over time, so that it never keeps
// more than its pieces. The bits are those of one rank either way.
//
// The flat gradient buffer is sent in buckets, which fill from its end while
// the backward pass goes on. Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_GRADIENT_REDUCER_H_
#define NEXTWORD_DISTRIBUTED_GRADIENT_REDUCER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "autograd/parameters.h"
#include "autograd/tensor/tensor.h"
#include "distributed/collectives/communicator.h"
#include "distributed/collectives/rank_groups.h"
#include "optim/optimizer.h"

namespace nextword {

// A sum of losses, and of the tokens that they belong to.
struct LossSum {
  double nats = 0;
  int64_t tokens = 0;
  // Some of it was not computed, for a stop (base/interruptible.h): it is of no
  // use.
  bool interrupted = false;

  void Add(const LossSum& other) {
    nats += other.nats;
    tokens += other.tokens;
    interrupted = interrupted || other.interrupted;
  }
};

// What of the gradients a rank has.
enum class ReducedGradients {
  kWhole,       // The whole sum.
  kPieces,      // Its pieces of the sum, PieceOf each bucket.
  kPiecesOnly,  // The same, and of sums over some lanes nothing else either.
};

class GradientReducer {
 public:
  struct Options {
    int lanes = 1;  // Of a step, over all ranks; a power of two, like the
                    // number of ranks, which divides it.
    int64_t bucket_elements = int64_t{25} << 18;  // 25 MiB of f32.
    ReducedGradients result = ReducedGradients::kWhole;
  };

  // Works on the gradients of `parameters`; they and the communicators outlive
  // it, and after its end there is no more Backward.
  GradientReducer(const Options& options, Parameters* parameters,
                  const RankGroups& groups);
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // Buffers that a rank with `lanes` lanes needs at once, the parameters' own
  // included: one more per doubling of its lanes. With kPiecesOnly they are
  // buffers of pieces.
  static int Buffers(int lanes);

  // The step's lanes that are this rank's, in the order in which it computes
  // them: LaneOf(0) to LaneOf(lanes() - 1).
  int lanes() const { return lanes_; }
  int LaneOf(int i) const;

  // The next Backward is the last of a lane of this rank. What it completes is
  // sent at once, if there is nothing to add to it.
  void BeforeLastBackward();

  // The gradients now hold a whole lane's sum: takes it in, and leaves the
  // gradients zero unless this was the rank's last lane.
  void FinishLane(const LossSum& loss);

  // After the last lane, waits for the other ranks: the gradients hold the sum
  // over all lanes, or of them this rank's pieces. Returns the losses' sum over
  // all lanes and forgets the step.
  absl::StatusOr<LossSum> Finish();

  // Ranges of the flat buffers, ascending, and this rank's piece of each
  // (PieceOf), which is what it has of the sum after Finish where it does not
  // have all of it.
  std::vector<FlatRange> buckets() const;
  std::vector<FlatRange> pieces() const;

  // Adds up numbers over ranks, for all, each of which but one are zero.
  absl::Status Complete(const Tensor& numbers);

  // Makes `flat`, of the size of the parameters, whole on every rank, each of
  // which has its own pieces.
  absl::Status AllGather(const Tensor& flat);

 private:
  // The sum over 2^k lanes of this rank.
  struct Subtree {
    int lanes;
    Tensor gradients;  // Flat, or the pieces one after the other.
  };

  // A part of the gradients that is sent at once.
  struct Bucket {
    FlatRange range;
    int unfinished = 0;  // Parameters whose gradients are to come.
  };

  void FinishParameter(const Parameters::Entry& entry);
  void SendReady();
  void Send(const Bucket& bucket);
  void SendRest();
  absl::Status WaitForSent();
  void KeepWhole();
  void KeepPieces();
  Tensor MovePieces();
  void AddPacked(const Tensor& packed);
  absl::StatusOr<LossSum> SumLosses();

  const int lanes_;
  const ReducedGradients result_;
  Parameters* const parameters_;
  const RankGroups groups_;
  std::vector<Bucket> buckets_;  // From the end of the buffer to its beginning.

  std::vector<Subtree> waiting_;  // For their right-hand neighbours.
  std::vector<LossSum> losses_;   // Of the rank's finished lanes of this step.
  bool sending_ = false;          // Since BeforeLastBackward.
  std::vector<Work> sent_;        // Of buckets_, the first ones.
  absl::Status error_;            // Of this step.
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_GRADIENT_REDUCER_H_

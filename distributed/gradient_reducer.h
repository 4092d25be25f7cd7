// Sums over the lanes of a step, in one fixed order for any number of ranks.
//
// A step's gradient is the sum over its lanes along a balanced binary tree:
// ((0 + 1) + (2 + 3)) + ... Within a lane, micro-batches add one after the
// other. A rank that holds a whole subtree computes its part of the same sum,
// so the bits do not depend on how lanes are spread over ranks. Not
// thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_GRADIENT_REDUCER_H_
#define NEXTWORD_DISTRIBUTED_GRADIENT_REDUCER_H_

#include <cstdint>
#include <vector>

#include "autograd/parameters.h"
#include "autograd/tensor/tensor.h"

namespace nextword {

// A sum of losses, and of the tokens that they belong to.
struct LossSum {
  double nats = 0;
  int64_t tokens = 0;

  void Add(const LossSum& other) {
    nats += other.nats;
    tokens += other.tokens;
  }
};

class GradientReducer {
 public:
  // Works on the gradients of `parameters`, which outlive it. Needs one more
  // buffer of their size per doubling of the lanes.
  explicit GradientReducer(Parameters* parameters) : parameters_(parameters) {}

  // Buffers that a step of `lanes` lanes needs at once, the parameters' own
  // included.
  static int Buffers(int lanes);

  // The gradients now hold a whole lane's sum: takes it in, and leaves the
  // gradients zero unless this was the last of `lanes` lanes. `lanes` is a
  // power of two.
  void FinishLane(const LossSum& loss, int lanes);

  // After the last lane: the gradients hold the sum over all lanes. Returns the
  // losses' sum and forgets the step.
  LossSum Finish();

 private:
  // The sum over 2^k lanes.
  struct Subtree {
    int lanes;
    LossSum loss;
    Tensor gradients;
  };

  Parameters* const parameters_;
  std::vector<Subtree> waiting_;  // For their right-hand neighbours.
  int finished_ = 0;              // Lanes of this step.
  LossSum total_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_GRADIENT_REDUCER_H_

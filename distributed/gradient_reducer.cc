#include "distributed/gradient_reducer.h"

#include <bit>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"
#include "autograd/tensor/memory_label.h"

namespace nextword {

int GradientReducer::Buffers(int lanes) {
  return std::bit_width(static_cast<unsigned>(lanes));
}

void GradientReducer::FinishLane(const LossSum& loss, int lanes) {
  NW_CHECK(std::has_single_bit(static_cast<unsigned>(lanes))) << lanes;
  Tensor sum = parameters_->gradients();
  Subtree subtree{1, loss, Tensor()};
  while (!waiting_.empty() && waiting_.back().lanes == subtree.lanes) {
    const Subtree& left = waiting_.back();
    kernels::accumulate(left.gradients, &sum);
    subtree.loss = {left.loss.nats + subtree.loss.nats,
                    left.loss.tokens + subtree.loss.tokens};
    subtree.lanes *= 2;
    waiting_.pop_back();
  }
  if (++finished_ == lanes) {
    total_ = subtree.loss;
    return;
  }
  const MemoryLabel label("gradients");
  subtree.gradients = Clone(sum);
  waiting_.push_back(std::move(subtree));
  parameters_->ZeroGradients();
}

LossSum GradientReducer::Finish() {
  NW_CHECK(waiting_.empty() && finished_ > 0) << "lanes are missing";
  finished_ = 0;
  return std::exchange(total_, LossSum{});
}

}  // namespace nextword

// How an element-wise operation on two tensors that broadcast walks over them.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_BROADCAST_PLAN_H_
#define NEXTWORD_AUTOGRAD_KERNELS_BROADCAST_PLAN_H_

#include <cstdint>

#include "autograd/tensor/shape.h"

namespace nextword::kernels {

// The dimensions of the result, innermost first, after merging neighbours that
// behave alike; those of size 1 are left out. Strides are 0 where an input
// repeats itself. Plain data, for it goes to GPUs.
struct BroadcastPlan {
  static constexpr int kMaxDims = 8;
  struct Dim {
    int64_t size, stride_a, stride_b;
  };

  int rank = 0;
  Dim dims[kMaxDims] = {};
};

// For shapes a and b that broadcast to y.
BroadcastPlan PlanBroadcast(const Shape& a, const Shape& b, const Shape& y);

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_BROADCAST_PLAN_H_

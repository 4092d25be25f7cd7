// How a sum over some of a tensor's axes is taken, step by step.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_SUM_PLAN_H_
#define NEXTWORD_AUTOGRAD_KERNELS_SUM_PLAN_H_

#include <cstdint>
#include <vector>

#include "autograd/tensor/shape.h"

namespace nextword::kernels {

// [before, n, after] -> [before, after].
struct SumStep {
  int64_t before, n, after;
};

// The steps from x to y, whose shape broadcasts to x's: runs of neighbouring
// axes at once, the last ones first. None where nothing is to be summed. `x`
// has elements.
std::vector<SumStep> PlanSum(const Shape& x, const Shape& y);

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_SUM_PLAN_H_

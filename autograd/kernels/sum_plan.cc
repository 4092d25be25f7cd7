#include "autograd/kernels/sum_plan.h"

namespace nextword::kernels {

std::vector<SumStep> PlanSum(const Shape& x, const Shape& y) {
  const int offset = x.rank() - y.rank();
  std::vector<SumStep> steps;
  int64_t numel = x.numel();  // Before the next step.
  int64_t after = 1;          // Elements of the axes that stay, so far.
  int64_t run = 1;            // Those of neighbours to be summed.
  const auto sum_run = [&] {
    if (run == 1) return;
    steps.push_back({numel / (run * after), run, after});
    numel /= run;
    run = 1;
  };
  for (int axis = x.rank() - 1; axis >= 0; --axis) {
    if (x[axis] == 1) continue;
    if (axis < offset || y[axis - offset] == 1) {
      run *= x[axis];
    } else {
      sum_run();
      after *= x[axis];
    }
  }
  sum_run();
  return steps;
}

}  // namespace nextword::kernels

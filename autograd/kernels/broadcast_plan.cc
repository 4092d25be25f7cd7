#include "autograd/kernels/broadcast_plan.h"

#include "autograd/base/check.h"

namespace nextword::kernels {

BroadcastPlan PlanBroadcast(const Shape& a, const Shape& b, const Shape& y) {
  BroadcastPlan plan;
  int64_t stride_a = 1, stride_b = 1;
  for (int i = 1; i <= y.rank(); ++i) {
    const int64_t size = y[-i];
    const int64_t da = i <= a.rank() ? a[-i] : 1;
    const int64_t db = i <= b.rank() ? b[-i] : 1;
    if (size == 1) continue;
    const BroadcastPlan::Dim dim{size, da == 1 ? 0 : stride_a,
                                 db == 1 ? 0 : stride_b};
    stride_a *= da;
    stride_b *= db;
    if (plan.rank > 0) {
      BroadcastPlan::Dim& last = plan.dims[plan.rank - 1];
      if (dim.stride_a == last.stride_a * last.size &&
          dim.stride_b == last.stride_b * last.size) {
        last.size *= size;
        continue;
      }
    }
    NW_CHECK_LT(plan.rank, BroadcastPlan::kMaxDims)
        << "broadcast of " << a << " and " << b;
    plan.dims[plan.rank++] = dim;
  }
  return plan;
}

}  // namespace nextword::kernels

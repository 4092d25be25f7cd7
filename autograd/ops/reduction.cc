#include "autograd/ops/reduction.h"

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/arithmetic.h"

namespace nextword {
namespace {

// Sums to `kept`, which has x's rank with summed axes of size 1, and gives the
// result as `shape`.
Variable SumAs(const Variable& x, const Shape& kept, const Shape& shape) {
  Tensor y = Empty(kept, x.dtype(), x.value().device());
  kernels::sum_to(x.value(), &y);
  return Record("sum", y.Reshape(shape), {x},
                [full = x.shape(), kept](const Tensor& dy) {
                  Tensor dx = Empty(full, dy.dtype(), dy.device());
                  const Tensor zero = Zeros(Shape(), dy.dtype(), dy.device());
                  kernels::add(dy.Reshape(kept), zero, &dx);
                  return Gradients{dx};
                });
}

}  // namespace

Variable Sum(const Variable& x) {
  const Shape ones(std::vector<int64_t>(x.shape().rank(), 1));
  return SumAs(x, ones, Shape());
}

Variable Mean(const Variable& x) {
  NW_CHECK_GT(x.value().numel(), 0) << "mean of " << x.value();
  return Scale(Sum(x), 1.0 / static_cast<double>(x.value().numel()));
}

Variable Sum(const Variable& x, int axis) {
  return SumAs(x, x.shape().With(axis, 1), x.shape().Without(axis));
}

Variable Mean(const Variable& x, int axis) {
  NW_CHECK_GT(x.dim(axis), 0) << "mean of " << x.value();
  return Scale(Sum(x, axis), 1.0 / static_cast<double>(x.dim(axis)));
}

Variable Max(const Variable& x) {
  const Shape shape = x.shape().Without(-1);
  Tensor y = Empty(shape, x.dtype(), x.value().device());
  Tensor index = Empty(shape, DType::kI32, x.value().device());
  kernels::max_last(x.value(), &y, &index);
  return Record("max", y, {x}, [full = x.shape(), index](const Tensor& dy) {
    // Row r's gradient belongs to entry index[r]: a scatter of single elements.
    Tensor dx = Zeros(full, dy.dtype(), dy.device());
    kernels::scatter_last(index, dy, &dx);
    return Gradients{dx};
  });
}

}  // namespace nextword

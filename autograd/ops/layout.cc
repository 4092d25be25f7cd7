#include "autograd/ops/layout.h"

#include <numeric>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"

namespace nextword {
namespace {

Tensor Permuted(const Tensor& x, const std::vector<int>& order) {
  std::vector<int64_t> dims;
  for (int axis : order) dims.push_back(x.dim(axis));
  Tensor y = Empty(Shape(dims), x.dtype(), x.device());
  kernels::permute(x, order, &y);
  return y;
}

// Entries [begin, end) along `axis` as a new tensor.
Tensor Range(const Tensor& x, int axis, int64_t begin, int64_t end) {
  Tensor y = Empty(x.shape().With(axis, end - begin), x.dtype(), x.device());
  kernels::copy_range(x, axis, begin, &y, 0, end - begin);
  return y;
}

}  // namespace

Variable Reshape(const Variable& x, const Shape& shape) {
  return Record("reshape", x.value().Reshape(shape), {x},
                [from = x.shape()](const Tensor& dy) {
                  return Gradients{dy.Reshape(from)};
                });
}

Variable Permute(const Variable& x, const std::vector<int>& order) {
  const int rank = x.shape().rank();
  std::vector<int> inverse(rank, -1);
  NW_CHECK_EQ(static_cast<int>(order.size()), rank)
      << "permute of " << x.value();
  for (int i = 0; i < rank; ++i) inverse[x.shape().Axis(order[i])] = i;
  for (int i : inverse) NW_CHECK_GE(i, 0) << "permute: an axis twice";
  return Record(
      "permute", Permuted(x.value(), order), {x},
      [inverse](const Tensor& dy) { return Gradients{Permuted(dy, inverse)}; });
}

Variable Transpose(const Variable& x, int axis_a, int axis_b) {
  std::vector<int> order(x.shape().rank());
  std::iota(order.begin(), order.end(), 0);
  std::swap(order[x.shape().Axis(axis_a)], order[x.shape().Axis(axis_b)]);
  return Permute(x, order);
}

Variable Slice(const Variable& x, int axis, int64_t begin, int64_t end) {
  axis = x.shape().Axis(axis);
  NW_CHECK(0 <= begin && begin <= end && end <= x.dim(axis))
      << "slice [" << begin << ", " << end << ") of axis " << axis << " of "
      << x.value();
  return Record("slice", Range(x.value(), axis, begin, end), {x},
                [full = x.shape(), axis, begin, end](const Tensor& dy) {
                  Tensor dx = Zeros(full, dy.dtype(), dy.device());
                  kernels::copy_range(dy, axis, 0, &dx, begin, end - begin);
                  return Gradients{dx};
                });
}

Variable Concat(const std::vector<Variable>& parts, int axis) {
  NW_CHECK(!parts.empty()) << "concat of nothing";
  const Variable& first = parts.front();
  axis = first.shape().Axis(axis);
  std::vector<int64_t> ends;
  int64_t size = 0;
  for (const Variable& part : parts) {
    NW_CHECK(part.shape().With(axis, 1) == first.shape().With(axis, 1) &&
             part.dtype() == first.dtype())
        << "concat of " << first.value() << " and " << part.value()
        << " along axis " << axis;
    ends.push_back(size += part.dim(axis));
  }
  Tensor y = Empty(first.shape().With(axis, size), first.dtype(),
                   first.value().device());
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t count = parts[i].dim(axis);
    kernels::copy_range(parts[i].value(), axis, 0, &y, ends[i] - count, count);
  }
  return Record("concat", y, parts, [axis, ends](const Tensor& dy) {
    Gradients gradients;
    int64_t begin = 0;
    for (int64_t end : ends) {
      gradients.push_back(Range(dy, axis, begin, end));
      begin = end;
    }
    return gradients;
  });
}

Variable Embedding(const Variable& weight, const Tensor& ids,
                   std::optional<DType> dtype) {
  NW_CHECK(weight.shape().rank() == 2 && ids.dtype() == DType::kI32)
      << "embedding of " << ids << " in " << weight.value();
  std::vector<int64_t> dims = ids.shape().dims();
  dims.push_back(weight.dim(1));
  Tensor y = Empty(Shape(dims), dtype.value_or(weight.dtype()),
                   weight.value().device());
  kernels::embedding(weight.value(), ids, &y);
  return Record("embedding", y, {weight},
                [shape = weight.shape(), dtype = weight.dtype(), ids](
                    const Tensor& dy, const Vjp::Uses& uses) {
                  Tensor sum = uses[0].sum;
                  const bool add = sum.defined();
                  if (!add) sum = Zeros(shape, SumDType(dtype), dy.device());
                  kernels::embedding_grad(ids, dy, &sum);
                  return Gradients{add ? Tensor() : Cast(sum, dtype)};
                });
}

}  // namespace nextword

#include "autograd/tensor/shape.h"

#include <algorithm>
#include <utility>

#include "autograd/base/check.h"

namespace nextword {
namespace {

int64_t Product(std::vector<int64_t>::const_iterator begin,
                std::vector<int64_t>::const_iterator end) {
  int64_t product = 1;
  for (; begin != end; ++begin) {
    NW_CHECK(!__builtin_mul_overflow(product, *begin, &product))
        << "shape has more elements than 64 bits count";
  }
  return product;
}

}  // namespace

Shape::Shape(std::initializer_list<int64_t> dims)
    : Shape(std::vector<int64_t>(dims)) {}

Shape::Shape(std::vector<int64_t> dims) : dims_(std::move(dims)) {
  for (int64_t dim : dims_) NW_CHECK_GE(dim, 0) << "in shape " << *this;
}

int64_t Shape::numel() const { return Product(dims_.begin(), dims_.end()); }

int Shape::Axis(int axis) const {
  const int from_front = axis < 0 ? axis + rank() : axis;
  NW_CHECK(from_front >= 0 && from_front < rank())
      << "axis " << axis << " of shape " << *this;
  return from_front;
}

int64_t Shape::NumelBefore(int axis) const {
  return Product(dims_.begin(), dims_.begin() + Axis(axis));
}

int64_t Shape::NumelAfter(int axis) const {
  return Product(dims_.begin() + Axis(axis) + 1, dims_.end());
}

Shape Shape::With(int axis, int64_t size) const {
  std::vector<int64_t> dims = dims_;
  dims[Axis(axis)] = size;
  return Shape(std::move(dims));
}

Shape Shape::Without(int axis) const {
  std::vector<int64_t> dims = dims_;
  dims.erase(dims.begin() + Axis(axis));
  return Shape(std::move(dims));
}

Shape BroadcastShape(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::vector<int64_t> dims(rank);
  for (int i = 1; i <= rank; ++i) {
    const int64_t da = i <= a.rank() ? a[-i] : 1;
    const int64_t db = i <= b.rank() ? b[-i] : 1;
    NW_CHECK(da == db || da == 1 || db == 1)
        << op << ": shapes " << a << " and " << b << " do not broadcast";
    dims[rank - i] = da == 1 ? db : da;
  }
  return Shape(std::move(dims));
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << "[";
  for (int i = 0; i < shape.rank(); ++i) {
    out << (i > 0 ? ", " : "") << shape.dims()[i];
  }
  return out << "]";
}

}  // namespace nextword

// The sizes of a tensor's dimensions, outermost first; row-major.
#ifndef NEXTWORD_AUTOGRAD_TENSOR_SHAPE_H_
#define NEXTWORD_AUTOGRAD_TENSOR_SHAPE_H_

#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <vector>

namespace nextword {

// A small value type. No dimensions means a scalar of one element; a dimension
// of size 0 means no elements.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);
  explicit Shape(std::vector<int64_t> dims);

  int rank() const { return static_cast<int>(dims_.size()); }
  int64_t numel() const;
  const std::vector<int64_t>& dims() const { return dims_; }

  // Size of dimension `axis`; negative axes count from the end.
  int64_t operator[](int axis) const { return dims_[Axis(axis)]; }

  // `axis` as a non-negative index; CHECKs that it exists.
  int Axis(int axis) const;

  // Product of the sizes before, or after, dimension `axis`.
  int64_t NumelBefore(int axis) const;
  int64_t NumelAfter(int axis) const;

  // This shape with another size at `axis`, or without `axis`.
  Shape With(int axis, int64_t size) const;
  Shape Without(int axis) const;

  bool operator==(const Shape&) const = default;

 private:
  std::vector<int64_t> dims_;
};

// The shape that two operands broadcast to, by NumPy's rule: aligned at the
// last dimension, sizes equal or one of them 1. CHECKs, naming `op`.
Shape BroadcastShape(const char* op, const Shape& a, const Shape& b);

// "[2, 3]".
std::ostream& operator<<(std::ostream& out, const Shape& shape);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_TENSOR_SHAPE_H_

// Tensor: a value. Elements of one dtype in row-major order on one device.
//
// A Tensor is a handle: copies share the storage, which goes when the last of
// them does. It carries no graph; kernels, optimizers and collectives take
// Tensors and so cannot record one by accident. Constness of the handle is not
// constness of the elements: whoever writes says so by taking a Tensor*.
// Handles may be copied by any thread; elements are guarded by their users.
#ifndef NEXTWORD_AUTOGRAD_TENSOR_TENSOR_H_
#define NEXTWORD_AUTOGRAD_TENSOR_TENSOR_H_

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "autograd/tensor/device.h"
#include "autograd/tensor/dtype.h"
#include "autograd/tensor/shape.h"

namespace nextword {

class Tensor {
 public:
  // No tensor: defined() is false.
  Tensor() = default;

  // A shape and a dtype without memory: what a model is before it is
  // allocated. Its elements may not be touched.
  static Tensor Declared(const Shape& shape, DType dtype);

  bool defined() const { return dtype_known_; }
  bool allocated() const { return storage_ != nullptr; }

  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  Device device() const;
  int64_t numel() const { return numel_; }
  int64_t size_bytes() const;
  int64_t dim(int axis) const { return shape_[axis]; }

  // The elements, in device memory. CHECKs that T fits the dtype.
  template <typename T>
  T* data() const {
    CheckDType(DTypeOf<T>::value);
    return static_cast<T*>(raw_data());
  }
  void* raw_data() const;

  // The same elements under another shape with as many of them.
  Tensor Reshape(const Shape& shape) const;

  // Rows [begin, end) of the first dimension; shares storage.
  Tensor Rows(int64_t begin, int64_t end) const;

  // Elements [offset, offset + shape.numel()) in row-major order, as `shape`;
  // shares storage.
  Tensor View(int64_t offset, const Shape& shape) const;

  bool SharesStorageWith(const Tensor& other) const {
    return storage_ == other.storage_;
  }

  // Whether no other handle refers to these elements: nobody would see them
  // change.
  bool OwnsAlone() const { return storage_.use_count() == 1; }

 private:
  struct Storage;
  friend Tensor Empty(const Shape& shape, DType dtype, Device device);

  void CheckDType(DType wanted) const;

  std::shared_ptr<Storage> storage_;
  int64_t offset_ = 0;  // In elements.
  Shape shape_;
  int64_t numel_ = 0;
  DType dtype_ = DType::kF32;
  bool dtype_known_ = false;
};

// A tensor and the name that files and messages know it by.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// "f32[2, 3]".
std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

// New tensors. Empty leaves the elements undefined.
Tensor Empty(const Shape& shape, DType dtype, Device device = Device::Cpu());
Tensor EmptyLike(const Tensor& other);

// `x` itself when it is on `device`, else a copy there. One of the two devices
// is the CPU.
Tensor ToDevice(const Tensor& x, Device device);

// Makes the elements of `x` zero and, where its device can, gives their memory
// back to the system until they are written to.
void Discard(const Tensor& x);

// A tensor holding `values`; T is float, double or int32_t, here and below.
template <typename T>
Tensor FromVector(const std::vector<T>& values, const Shape& shape,
                  Device device = Device::Cpu());

// The elements of a tensor of dtype T, on any device.
template <typename T>
std::vector<T> ToVector(const Tensor& tensor);

// The element of a tensor of one.
template <typename T>
T ToScalar(const Tensor& tensor);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_TENSOR_TENSOR_H_

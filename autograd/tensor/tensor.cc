#include "autograd/tensor/tensor.h"

#include "autograd/base/check.h"
#include "autograd/tensor/allocator.h"

namespace nextword {

struct Tensor::Storage {
  Storage(size_t bytes, Device device)
      : bytes(bytes),
        device(device),
        data(AllocatorFor(device).Allocate(bytes)) {}
  ~Storage() { AllocatorFor(device).Free(data, bytes); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  const size_t bytes;
  const Device device;
  void* const data;
};

Tensor Tensor::Declared(const Shape& shape, DType dtype) {
  Tensor tensor;
  tensor.shape_ = shape;
  tensor.numel_ = shape.numel();
  tensor.dtype_ = dtype;
  tensor.dtype_known_ = true;
  return tensor;
}

Device Tensor::device() const {
  NW_CHECK(allocated()) << "device of " << *this << ", which has no memory";
  return storage_->device;
}

int64_t Tensor::size_bytes() const {
  return numel_ * static_cast<int64_t>(DTypeSize(dtype_));
}

void* Tensor::raw_data() const {
  NW_CHECK(allocated()) << "elements of " << *this << ", which has no memory";
  return static_cast<char*>(storage_->data) +
         offset_ * static_cast<int64_t>(DTypeSize(dtype_));
}

Tensor Tensor::Reshape(const Shape& shape) const {
  NW_CHECK_EQ(shape.numel(), numel_)
      << "reshape of " << *this << " to " << shape;
  Tensor result = *this;
  result.shape_ = shape;
  return result;
}

Tensor Tensor::Rows(int64_t begin, int64_t end) const {
  NW_CHECK(0 <= begin && begin <= end && end <= dim(0))
      << "rows [" << begin << ", " << end << ") of " << *this;
  return View(begin * shape_.NumelAfter(0), shape_.With(0, end - begin));
}

Tensor Tensor::View(int64_t offset, const Shape& shape) const {
  NW_CHECK(offset >= 0 && offset + shape.numel() <= numel_)
      << "view of " << shape << " at " << offset << " in " << *this;
  Tensor result = *this;
  result.offset_ += offset;
  result.shape_ = shape;
  result.numel_ = shape.numel();
  return result;
}

void Tensor::CheckDType(DType wanted) const {
  NW_CHECK(dtype_ == wanted) << *this << " read as " << wanted;
}

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) {
  if (!tensor.defined()) return out << "(no tensor)";
  return out << tensor.dtype() << tensor.shape();
}

Tensor Empty(const Shape& shape, DType dtype, Device device) {
  Tensor tensor = Tensor::Declared(shape, dtype);
  tensor.storage_ =
      std::make_shared<Tensor::Storage>(tensor.size_bytes(), device);
  return tensor;
}

Tensor EmptyLike(const Tensor& other) {
  return Empty(other.shape(), other.dtype(), other.device());
}

Tensor ToDevice(const Tensor& x, Device device) {
  const Device from = x.device();
  if (from == device) return x;
  Tensor y = Empty(x.shape(), x.dtype(), device);
  if (from == Device::Cpu()) {
    AllocatorFor(device).Upload(x.raw_data(), y.raw_data(), x.size_bytes());
  } else {
    NW_CHECK(device == Device::Cpu())
        << "copy from " << from << " to " << device;
    AllocatorFor(from).Download(x.raw_data(), y.raw_data(), x.size_bytes());
  }
  return y;
}

void Discard(const Tensor& x) {
  AllocatorFor(x.device()).Discard(x.raw_data(), x.size_bytes());
}

template <typename T>
Tensor FromVector(const std::vector<T>& values, const Shape& shape,
                  Device device) {
  NW_CHECK_EQ(static_cast<int64_t>(values.size()), shape.numel())
      << "values for shape " << shape;
  Tensor tensor = Empty(shape, DTypeOf<T>::value, device);
  AllocatorFor(device).Upload(values.data(), tensor.raw_data(),
                              tensor.size_bytes());
  return tensor;
}

template <typename T>
std::vector<T> ToVector(const Tensor& tensor) {
  const T* const data = tensor.data<T>();
  std::vector<T> values(tensor.numel());
  AllocatorFor(tensor.device())
      .Download(data, values.data(), tensor.size_bytes());
  return values;
}

template <typename T>
T ToScalar(const Tensor& tensor) {
  NW_CHECK_EQ(tensor.numel(), 1) << "the element of " << tensor;
  T value;
  AllocatorFor(tensor.device())
      .Download(tensor.data<T>(), &value, sizeof(value));
  return value;
}

#define NW_INSTANTIATE(T)                                                  \
  template Tensor FromVector(const std::vector<T>&, const Shape&, Device); \
  template std::vector<T> ToVector(const Tensor&);                         \
  template T ToScalar(const Tensor&)
NW_INSTANTIATE(float);
NW_INSTANTIATE(double);
NW_INSTANTIATE(int32_t);
#undef NW_INSTANTIATE

}  // namespace nextword

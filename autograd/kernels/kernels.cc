#include "autograd/kernels/kernels.h"

namespace nextword {

Tensor Zeros(const Shape& shape, DType dtype, Device device) {
  Tensor y = Empty(shape, dtype, device);
  kernels::fill(&y, 0.0);
  return y;
}

Tensor ZerosLike(const Tensor& other) {
  return Zeros(other.shape(), other.dtype(), other.device());
}

Tensor Cast(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = Empty(x.shape(), dtype, x.device());
  kernels::copy(x, &y);
  return y;
}

Tensor Clone(const Tensor& x) {
  Tensor y = EmptyLike(x);
  kernels::copy(x, &y);
  return y;
}

}  // namespace nextword

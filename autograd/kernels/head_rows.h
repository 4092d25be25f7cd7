// The elements of kernels::Heads.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_HEAD_ROWS_H_
#define NEXTWORD_AUTOGRAD_KERNELS_HEAD_ROWS_H_

#include <cstdint>
#include <type_traits>

#include "autograd/base/host_device.h"
#include "autograd/kernels/kernels.h"

namespace nextword::kernels {

// Rows of D elements, one per head and position, `stride` elements from one
// position to the next. Does not keep the tensor alive.
template <typename T>
class HeadRows {
 public:
  explicit HeadRows(const Heads& heads) : HeadRows(heads.data, heads.first) {}
  explicit HeadRows(const Tensor& all, int64_t first = 0)
      : data_(all.data<std::remove_const_t<T>>() + first * all.dim(3)),
        positions_(all.dim(1)),
        size_(all.dim(3)),
        stride_(all.dim(2) * size_) {}

  NW_HOST_DEVICE T* At(int64_t batch, int64_t position, int64_t head) const {
    return data_ + (batch * positions_ + position) * stride_ + head * size_;
  }
  NW_HOST_DEVICE int64_t stride() const { return stride_; }

 private:
  T* data_;
  int64_t positions_, size_, stride_;
};

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_HEAD_ROWS_H_

// Rotary position embedding (Su et al. 2021), pairing i with i + D / 2.
#include <cmath>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"

namespace nextword::kernels::cuda {
namespace {

// cosines, sines [length, half] of the positions from `first` on. Angles are
// taken in double: in float, those of far positions would lose their digits.
__global__ void AnglesKernel(int64_t length, int64_t half, double theta,
                             int64_t first, float* cosines, float* sines) {
  ForEachItem(length * half, [=](int64_t item) {
    const double i = static_cast<double>(item % half);
    const double position = static_cast<double>(first + item / half);
    const double angle =
        position * ::pow(theta, -i / static_cast<double>(half));
    cosines[item] = static_cast<float>(::cos(angle));
    sines[item] = static_cast<float>(::sin(angle));
  });
}

// An item is a pair of a turned head, or two neighbours of one that is copied.
template <typename T>
__global__ void RopeKernel(int64_t rows, int64_t length, int64_t all,
                           int64_t heads, int64_t half, float sign,
                           const float* cosines, const float* sines, const T* x,
                           T* y) {
  ForEachItem(rows * all * half, [=](int64_t item) {
    const int64_t i = item % half;
    const int64_t head = item / half % all;
    const int64_t row = item / half / all;
    const int64_t at = (row * all + head) * 2 * half + i;
    if (head >= heads) {
      y[at] = x[at];
      y[at + half] = x[at + half];
      return;
    }
    const int64_t angle = row % length * half + i;
    const float a = static_cast<float>(x[at]);
    const float b = static_cast<float>(x[at + half]);
    const float c = cosines[angle], s = sign * sines[angle];
    y[at] = static_cast<T>(a * c - b * s);
    y[at + half] = static_cast<T>(b * c + a * s);
  });
}

void Rope(In x, int64_t heads, double theta, int64_t first_position,
          bool inverse, Out y) {
  const int64_t length = x.dim(1), all = x.dim(2), half = x.dim(3) / 2;
  NW_CHECK_EQ(2 * half, x.dim(3)) << "rope: odd head size in " << x;
  if (x.numel() == 0) return;
  const Device device = y->device();
  const Tensor angles = Empty({2, length, half}, DType::kF32, device);
  float* const cosines = angles.data<float>();
  float* const sines = cosines + length * half;
  Launch(device, GridForItems(length * half, device), AnglesKernel, length,
         half, theta, first_position, cosines, sines);
  DispatchF32OrBf16(x.dtype(), "rope", [&](auto tag) {
    using T = decltype(tag);
    const int64_t rows = x.dim(0) * length;
    Launch(device, GridForItems(rows * all * half, device), RopeKernel<T>, rows,
           length, all, heads, half, inverse ? -1.0f : 1.0f, cosines, sines,
           x.data<T>(), y->data<T>());
  });
}

[[maybe_unused]] const bool registered = rope.Register(DeviceType::kCuda, Rope);

}  // namespace
}  // namespace nextword::kernels::cuda

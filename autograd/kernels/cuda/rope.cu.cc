// Rotary position embedding (Su et al. 2021), pairing i with i + D / 2.
#include <cmath>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/cuda/packs.h"

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

// An item is a pack of pairs of a turned head, or of neighbours of one that is
// copied.
template <int kPack, typename T>
__global__ void RopeKernel(int64_t rows, int64_t length, int64_t all,
                           int64_t heads, int64_t half, float sign,
                           const float* cosines, const float* sines, const T* x,
                           T* y) {
  const int64_t packs = half / kPack;
  ForEachItem(rows * all * packs, [=](int64_t item) {
    const int64_t i = item % packs * kPack;
    const int64_t head = item / packs % all;
    const int64_t row = item / packs / all;
    const int64_t at = (row * all + head) * 2 * half + i;
    auto a = Load<kPack>(x + at, true), b = Load<kPack>(x + at + half, true);
    if (head < heads) {
      const int64_t angle = row % length * half + i;
      const auto c = Load<kPack>(cosines + angle, true);
      const auto s = Load<kPack>(sines + angle, true);
      for (int k = 0; k < kPack; ++k) {
        const float turn = sign * s.items[k];
        const float turned = a.items[k] * c.items[k] - b.items[k] * turn;
        b.items[k] = b.items[k] * c.items[k] + a.items[k] * turn;
        a.items[k] = turned;
      }
    }
    Store(a, y + at, true);
    Store(b, y + at + half, true);
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
    constexpr int kPack = kPackOf<T>;
    const int64_t rows = x.dim(0) * length;
    const bool packs = AlignedForPacks(kPack, half, x.data<T>(), y->data<T>());
    Launch(device,
           GridForItems(rows * all * half / (packs ? kPack : 1), device),
           packs ? RopeKernel<kPack, T> : RopeKernel<1, T>, rows, length, all,
           heads, half, inverse ? -1.0f : 1.0f, cosines, sines, x.data<T>(),
           y->data<T>());
  });
}

[[maybe_unused]] const bool registered = rope.Register(DeviceType::kCuda, Rope);

}  // namespace
}  // namespace nextword::kernels::cuda

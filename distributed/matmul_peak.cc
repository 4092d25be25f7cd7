#include "distributed/matmul_peak.h"

#include <algorithm>
#include <array>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/kernels/kernels.h"
#include "autograd/tensor/allocator.h"

namespace nextword {
namespace {

// Numbers as training has them: processors run faster on zeros.
Tensor RandomSquare(int64_t size, DType dtype, Device device, uint64_t seed) {
  Tensor x = Empty({size, size}, DType::kF32, device);
  kernels::normal(&x, {.seed = seed}, 1.0);
  return Cast(x, dtype);
}

}  // namespace

double MeasureMatmulPeak(DType dtype, Device device, double seconds) {
  // A GPU wants large products to be busy, and several of them before the host
  // waits, which takes longer than a small product.
  const bool cpu = device.type == DeviceType::kCpu;
  const int64_t size = cpu ? 1024 : 8192;
  const int repeats = cpu ? 1 : 8;
  const Tensor a = RandomSquare(size, dtype, device, 1);
  const Tensor b = RandomSquare(size, dtype, device, 2);
  Tensor c = Empty({size, size}, dtype, device);

  // The kinds of product that training has: of a linear layer, of the gradient
  // of its input, and of that of its weight.
  struct Transposes {
    bool a, b;
  };
  constexpr std::array<Transposes, 3> kKinds = {
      {{false, true}, {false, false}, {true, false}}};
  const auto multiply = [&](Transposes kind) {
    for (int i = 0; i < repeats; ++i) {
      kernels::matmul(a, kind.a, b, kind.b, false, &c);
    }
    AllocatorFor(device).Synchronize();
  };
  for (const Transposes kind : kKinds) multiply(kind);  // Warm-up.

  const absl::Time end = absl::Now() + absl::Seconds(seconds);
  double best = 0;
  do {
    for (const Transposes kind : kKinds) {
      const absl::Time start = absl::Now();
      multiply(kind);
      const double taken = absl::ToDoubleSeconds(absl::Now() - start);
      best = std::max(best, 2.0 * repeats * size * size * size / taken);
    }
  } while (absl::Now() < end);
  return best;
}

}  // namespace nextword

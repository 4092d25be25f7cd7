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
  constexpr int64_t kSize = 1024;
  const Tensor a = RandomSquare(kSize, dtype, device, 1);
  const Tensor b = RandomSquare(kSize, dtype, device, 2);
  Tensor c = Empty({kSize, kSize}, dtype, device);

  // The kinds of product that training has: of a linear layer, of the gradient
  // of its input, and of that of its weight.
  struct Transposes {
    bool a, b;
  };
  constexpr std::array<Transposes, 3> kKinds = {
      {{false, true}, {false, false}, {true, false}}};
  const auto multiply = [&](Transposes kind) {
    kernels::matmul(a, kind.a, b, kind.b, false, &c);
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
      best = std::max(best, 2.0 * kSize * kSize * kSize / taken);
    }
  } while (absl::Now() < end);
  return best;
}

}  // namespace nextword

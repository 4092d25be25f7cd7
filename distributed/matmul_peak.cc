#include "distributed/matmul_peak.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/kernels/kernels.h"

namespace nextword {

double MeasureMatmulPeak(DType dtype, Device device, double seconds) {
  constexpr int64_t kSize = 1024;
  const Tensor a = Zeros({kSize, kSize}, dtype, device);
  const Tensor b = Zeros({kSize, kSize}, dtype, device);
  Tensor c = Empty({kSize, kSize}, dtype, device);
  kernels::matmul(a, false, b, false, false, &c);  // Warm-up.

  const absl::Time end = absl::Now() + absl::Seconds(seconds);
  double best = 0;
  do {
    const absl::Time start = absl::Now();
    kernels::matmul(a, false, b, false, false, &c);
    const double taken = absl::ToDoubleSeconds(absl::Now() - start);
    best = std::max(best, 2.0 * kSize * kSize * kSize / taken);
  } while (absl::Now() < end);
  return best;
}

}  // namespace nextword

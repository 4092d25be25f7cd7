#include "distributed/matmul_peak.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <tuple>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/base/parallel.h"
#include "autograd/kernels/kernels.h"
#include "autograd/tensor/allocator.h"

namespace nextword {
namespace {

// The kinds of product that training has: of a linear layer, of the gradient of
// its input, and of that of its weight.
struct Transposes {
  bool a, b;
};
constexpr std::array<Transposes, 3> kKinds = {
    {{false, true}, {false, false}, {true, false}}};

// Square matrices of numbers as training has them: processors run faster on
// zeros.
class Squares {
 public:
  Squares(int64_t size, DType dtype, Device device)
      : a_(Random(size, dtype, device, 1)),
        b_(Random(size, dtype, device, 2)),
        c_(Empty({size, size}, dtype, device)) {}

  // Operations of a product.
  double work() const {
    const double size = static_cast<double>(c_.dim(0));
    return 2 * size * size * size;
  }

  // The seconds that one takes.
  double Multiply(Transposes kind) const {
    const absl::Time start = absl::Now();
    Tensor c = c_;
    kernels::matmul(a_, kind.a, b_, kind.b, false, &c);
    AllocatorFor(c.device()).Synchronize();
    return absl::ToDoubleSeconds(absl::Now() - start);
  }

 private:
  static Tensor Random(int64_t size, DType dtype, Device device,
                       uint64_t seed) {
    Tensor x = Empty({size, size}, DType::kF32, device);
    kernels::normal(&x, {.seed = seed}, 1.0);
    return Cast(x, dtype);
  }

  const Tensor a_, b_, c_;
};

// Operations per second, the best of those of `seconds`.
double BestRate(const Squares& squares, double seconds) {
  const absl::Time end = absl::Now() + absl::Seconds(seconds);
  double best = 0;
  do {
    for (const Transposes kind : kKinds) {
      best = std::max(best, squares.work() / squares.Multiply(kind));
    }
  } while (absl::Now() < end);
  return best;
}

}  // namespace

double MeasureMatmulPeak(DType dtype, Device device, double seconds) {
  for (int64_t size = 1024;; size *= 2) {
    const Squares squares(size, dtype, device);
    for (const Transposes kind : kKinds) squares.Multiply(kind);  // Warm-up.
    // Fast devices want large products, or waiting for them would be measured.
    if (size == 8192 || squares.Multiply(kKinds[0]) > 5e-3) {
      return BestRate(squares, seconds);
    }
  }
}

double MatmulPeak(DType dtype, Device device) {
  static auto* const mutex = new std::mutex;
  static auto* const peaks =
      new std::map<std::tuple<DType, DeviceType, int, int>, double>;
  const std::lock_guard lock(*mutex);
  double& peak = (*peaks)[{dtype, device.type, device.index, NumThreads()}];
  if (peak == 0) peak = MeasureMatmulPeak(dtype, device, 0.3);
  return peak;
}

}  // namespace nextword

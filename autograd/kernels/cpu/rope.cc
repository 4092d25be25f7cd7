// Rotary position embedding (Su et al. 2021), pairing i with i + D / 2.
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/kernels/cpu/loops.h"
#include "autograd/kernels/kernels.h"

namespace nextword::kernels {
namespace {

// Cosines, then sines, of one position after the other: [positions, 2, half].
template <typename C>
using RotaryTable = std::vector<C>;

// The table for at least `positions` positions, made once and shared.
template <typename C>
std::shared_ptr<const RotaryTable<C>> GetTable(double theta, int64_t half,
                                               int64_t positions) {
  static std::mutex mutex;
  static auto* const tables =
      new std::map<std::pair<double, int64_t>,
                   std::shared_ptr<const RotaryTable<C>>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<const RotaryTable<C>>& entry = (*tables)[{theta, half}];
  const int64_t wanted = positions * 2 * half;
  if (entry != nullptr && static_cast<int64_t>(entry->size()) >= wanted) {
    return entry;
  }
  // Twice what is asked, so that generation does not rebuild it every token.
  auto table = std::make_shared<RotaryTable<C>>(2 * wanted);
  for (int64_t p = 0; p < 2 * positions; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      const double frequency =
          std::pow(theta, -static_cast<double>(i) / static_cast<double>(half));
      const double angle = static_cast<double>(p) * frequency;
      (*table)[(p * 2) * half + i] = static_cast<C>(std::cos(angle));
      (*table)[(p * 2 + 1) * half + i] = static_cast<C>(std::sin(angle));
    }
  }
  entry = table;
  return entry;
}

template <typename T>
void RotateHead(const T* __restrict x, const ComputeType<T>* __restrict cosines,
                const ComputeType<T>* __restrict sines, ComputeType<T> sign,
                T* __restrict y, int64_t half) {
  using C = ComputeType<T>;
  for (int64_t i = 0; i < half; ++i) {
    const C a = static_cast<C>(x[i]);
    const C b = static_cast<C>(x[half + i]);
    const C s = sign * sines[i];
    y[i] = static_cast<T>(a * cosines[i] - b * s);
    y[half + i] = static_cast<T>(b * cosines[i] + a * s);
  }
}

void Rope(In x, int64_t heads, double theta, int64_t first_position,
          bool inverse, Out y) {
  const int64_t length = x.dim(1), all = x.dim(2), half = x.dim(3) / 2;
  NW_CHECK_EQ(2 * half, x.dim(3)) << "rope: odd head size in " << x;
  if (x.numel() == 0) return;
  DispatchFloat(x.dtype(), "rope", [&](auto tag) {
    using T = decltype(tag);
    using C = ComputeType<T>;
    const auto table = GetTable<C>(theta, half, first_position + length);
    const C* const angles = table->data() + first_position * 2 * half;
    const C sign = inverse ? C(-1) : C(1);
    const T* const px = x.data<T>();
    T* const py = y->data<T>();
    const int64_t row = all * 2 * half, turned = heads * 2 * half;
    ParallelFor(
        x.dim(0) * length, RowsPerTask(row), [=](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            const C* const cosines = angles + r % length * 2 * half;
            for (int64_t h = 0; h < heads; ++h) {
              const int64_t i = r * row + h * 2 * half;
              RotateHead(px + i, cosines, cosines + half, sign, py + i, half);
            }
            std::copy(px + r * row + turned, px + (r + 1) * row,
                      py + r * row + turned);
          }
        });
  });
}

[[maybe_unused]] const bool registered = rope.Register(DeviceType::kCpu, Rope);

}  // namespace
}  // namespace nextword::kernels

#include "tests/testing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"

namespace nextword {
namespace {

constexpr int64_t kCoordinates = 24;

// Indices into `shape`, for messages.
Shape IndexOf(int64_t position, const Shape& shape) {
  std::vector<int64_t> index(shape.rank());
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    index[axis] = position % shape[axis];
    position /= shape[axis];
  }
  return Shape(index);
}

double Scale(const std::vector<double>& values) {
  double scale = 1e-3;
  for (double value : values) {
    if (std::isfinite(value)) scale = std::max(scale, std::abs(value));
  }
  return scale;
}

// Infinite when exactly one of the two is NaN.
double Distance(double a, double b) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
  const double distance = std::abs(a - b);
  return std::isnan(distance) ? INFINITY : distance;
}

MATCHER_P2(IsNearImpl, expected, tolerance, "") {
  *result_listener << arg << " against " << expected;
  if (arg.shape() != expected.shape()) return false;
  const std::vector<double> actual = ToDoubles(arg);
  const std::vector<double> wanted = ToDoubles(expected);
  const double scale = Scale(wanted);
  double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double distance = Distance(actual[i], wanted[i]);
    if (distance > worst) worst = distance, at = i;
  }
  if (worst <= tolerance * scale) return true;
  *result_listener << ", at " << IndexOf(at, arg.shape()) << " " << actual[at]
                   << " against " << wanted[at] << ", apart by "
                   << worst / scale << " of the scale " << scale
                   << " where at most " << tolerance << " is wanted";
  return false;
}

MATCHER_P(HasBitsOfImpl, expected, "") {
  *result_listener << arg << " against " << expected;
  if (arg.shape() != expected.shape() || arg.dtype() != expected.dtype()) {
    return false;
  }
  const size_t size = DTypeSize(arg.dtype());
  const Tensor on_cpu[] = {ToDevice(arg, Device::Cpu()),
                           ToDevice(expected, Device::Cpu())};
  const char* const a = static_cast<const char*>(on_cpu[0].raw_data());
  const char* const b = static_cast<const char*>(on_cpu[1].raw_data());
  int64_t different = 0, first = 0;
  for (int64_t i = arg.numel() - 1; i >= 0; --i) {
    if (std::memcmp(a + i * size, b + i * size, size) == 0) continue;
    ++different;
    first = i;
  }
  if (different == 0) return true;
  *result_listener << ", " << different << " of " << arg.numel()
                   << " elements differ, the first at "
                   << IndexOf(first, arg.shape());
  if (arg.dtype() != DType::kI32) {
    *result_listener << ": " << ToDoubles(on_cpu[0].View(first, {})).front()
                     << " against "
                     << ToDoubles(on_cpu[1].View(first, {})).front();
  }
  return false;
}

// Up to kCoordinates different positions below n.
std::vector<int64_t> Coordinates(int64_t n, uint64_t seed) {
  std::vector<int64_t> positions(n);
  std::iota(positions.begin(), positions.end(), 0);
  const int64_t count = std::min(n, kCoordinates);
  for (int64_t i = 0; i < count; ++i) {
    const PhiloxBlock words =
        RandomWords({.seed = seed, .site = 1}, static_cast<uint32_t>(i));
    std::swap(positions[i], positions[i + words.v[0] % (n - i)]);
  }
  positions.resize(count);
  return positions;
}

// sum(projection * function(inputs)) with inputs[input] at `position` moved to
// x + h, less the same at x - h. Differences come before the sum, which would
// otherwise cancel.
double Difference(const TensorFunction& function,
                  const std::vector<Tensor>& inputs, size_t input,
                  int64_t position, double h,
                  const std::vector<double>& projection) {
  const NoGradScope no_grad;
  const auto value_at = [&](double offset) {
    std::vector<Variable> moved;
    for (const Tensor& x : inputs) moved.emplace_back(Clone(x));
    moved[input].value().data<double>()[position] += offset;
    return ToDoubles(function(moved).value());
  };
  const std::vector<double> above = value_at(h), below = value_at(-h);
  double sum = 0;
  for (size_t i = 0; i < above.size(); ++i) {
    sum += projection[i] * (above[i] - below[i]);
  }
  return sum;
}

}  // namespace

Device TestDevice() {
  return DeviceCount(DeviceType::kCuda) > 0 ? Device::Cuda() : Device::Cpu();
}

Tensor RandomNormal(const Shape& shape, uint64_t seed, DType dtype) {
  Tensor x = Empty(shape, DType::kF64);
  kernels::normal(&x, {.seed = seed}, 1.0);
  return Cast(Cast(x, DType::kBF16), dtype);
}

Tensor RandomPositive(const Shape& shape, uint64_t seed, DType dtype) {
  const Tensor x = RandomNormal(shape, seed);
  double* const px = x.data<double>();
  for (int64_t i = 0; i < x.numel(); ++i) px[i] = 0.5 + std::abs(px[i]);
  return Cast(Cast(x, DType::kBF16), dtype);
}

Tensor RandomIds(const Shape& shape, int32_t limit, uint64_t seed) {
  std::vector<int32_t> ids(shape.numel());
  for (size_t i = 0; i < ids.size(); ++i) {
    const PhiloxBlock words = RandomWords({.seed = seed}, i);
    ids[i] = static_cast<int32_t>(words.v[0] % limit);
  }
  return FromVector(ids, shape);
}

std::vector<double> ToDoubles(const Tensor& x) {
  return ToVector<double>(Cast(ToDevice(x, Device::Cpu()), DType::kF64));
}

::testing::Matcher<const Tensor&> IsNear(const Tensor& expected,
                                         double tolerance) {
  return IsNearImpl(expected, tolerance);
}

::testing::Matcher<const Tensor&> HasBitsOf(const Tensor& expected) {
  return HasBitsOfImpl(expected);
}

Differentiated ForwardBackward(const TensorFunction& function,
                               const std::vector<Tensor>& inputs, Tensor dy) {
  std::vector<Variable> leaves;
  for (const Tensor& x : inputs) leaves.emplace_back(x, true);
  const Variable y = function(leaves);
  if (!dy.defined()) {
    dy =
        ToDevice(RandomNormal(y.shape(), 12345, y.dtype()), y.value().device());
  }
  Backward(y, dy);
  Differentiated result{y.value(), {}};
  for (const Variable& leaf : leaves) {
    result.gradients.push_back(leaf.gradient());
  }
  return result;
}

::testing::AssertionResult CheckGradients(const TensorFunction& function,
                                          const std::vector<Tensor>& inputs,
                                          double tolerance) {
  std::vector<Tensor> copies;
  for (const Tensor& x : inputs) copies.push_back(Clone(x));
  Shape shape;
  {
    const NoGradScope no_grad;
    shape = function({copies.begin(), copies.end()}).shape();
  }
  const Tensor projection = RandomNormal(shape, 54321);
  const Differentiated got = ForwardBackward(function, copies, projection);
  for (size_t input = 0; input < inputs.size(); ++input) {
    const Tensor& x = inputs[input];
    const Tensor& dx = got.gradients[input];
    if (!dx.defined() || dx.shape() != x.shape()) {
      return ::testing::AssertionFailure()
             << "input " << input << ", " << x << ", has gradient " << dx;
    }
    const std::vector<double> gradient = ToDoubles(dx);
    for (int64_t position : Coordinates(x.numel(), input)) {
      const double h =
          1e-5 * std::max(1.0, std::abs(x.data<double>()[position]));
      const double wanted = Difference(function, inputs, input, position, h,
                                       ToDoubles(projection)) /
                            (2 * h);
      const double scale = std::max({std::abs(gradient[position]),
                                     std::abs(wanted), 1e-2 * Scale(gradient)});
      const double error = Distance(gradient[position], wanted) / scale;
      if (!(error <= tolerance)) {
        return ::testing::AssertionFailure()
               << "input " << input << ", " << x << ", at "
               << IndexOf(position, x.shape()) << ": gradient "
               << gradient[position] << ", by differences " << wanted
               << ", relative error " << error << " where at most " << tolerance
               << " is wanted";
      }
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace nextword

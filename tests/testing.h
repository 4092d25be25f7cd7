// What tests of tensors and gradients share: random tensors, comparisons that
// say where they failed, and the check of gradients by central differences.
#ifndef NEXTWORD_TESTS_TESTING_H_
#define NEXTWORD_TESTS_TESTING_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "autograd/tensor/tensor.h"
#include "autograd/variable.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nextword {

// Where tests of models compute: the GPU, real or emulated, that the test has
// been built with and the machine has; else the CPU.
Device TestDevice();

// Standard normal values, a function of shape and seed. They are rounded to
// bf16, so that every floating dtype holds the same numbers.
Tensor RandomNormal(const Shape& shape, uint64_t seed,
                    DType dtype = DType::kF64);

// The same numbers as 0.5 + |x|: safe to divide by, to take roots of.
Tensor RandomPositive(const Shape& shape, uint64_t seed,
                      DType dtype = DType::kF64);

// i32 values uniform in [0, limit).
Tensor RandomIds(const Shape& shape, int32_t limit, uint64_t seed);

// The elements of a tensor of any floating dtype.
std::vector<double> ToDoubles(const Tensor& x);

// Same shape, and no element further from its counterpart than `tolerance`
// times the largest finite |element| of `expected` (at least 1e-3). NaN equals
// NaN and an infinity itself. Dtypes may differ.
::testing::Matcher<const Tensor&> IsNear(const Tensor& expected,
                                         double tolerance);

// Same dtype, shape and bits.
::testing::Matcher<const Tensor&> HasBitsOf(const Tensor& expected);

using TensorFunction = std::function<Variable(const std::vector<Variable>&)>;

// A function's value, and the gradients of its inputs when the result's is
// `dy` (undefined: standard normal).
struct Differentiated {
  Tensor value;
  std::vector<Tensor> gradients;
};
Differentiated ForwardBackward(const TensorFunction& function,
                               const std::vector<Tensor>& inputs,
                               Tensor dy = Tensor());

// Holds what Backward gives for f64 `inputs` against central differences, for
// a random projection of the function's value and up to 24 random coordinates
// of each input. Fails when they differ by more than `tolerance`, relative to
// the larger of the two or, for small ones, to the scale of that gradient.
::testing::AssertionResult CheckGradients(const TensorFunction& function,
                                          const std::vector<Tensor>& inputs,
                                          double tolerance = 1e-6);

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_H_

// Eight-bit floats, tensors rounded to them, and linear layers in them.
#include "autograd/ops/quantized_linear.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/activation.h"
#include "autograd/ops/matmul.h"
#include "tests/testing.h"

namespace nextword {
namespace {

using Inputs = std::vector<Variable>;

// All finite numbers of a type, in order of their bits, from 0 up.
template <typename T>
std::vector<float> NumbersOf() {
  std::vector<float> numbers;
  for (int bits = 0; bits < 128; ++bits) {
    T x;
    x.bits = static_cast<uint8_t>(bits);
    if (std::isfinite(static_cast<float>(x))) {
      numbers.push_back(static_cast<float>(x));
    }
  }
  return numbers;
}

template <typename T>
class Float8Test : public ::testing::Test {};
using Float8Types = ::testing::Types<FloatE4M3, FloatE5M2>;
TYPED_TEST_SUITE(Float8Test, Float8Types);

TYPED_TEST(Float8Test, RoundsToTheNearestAndTiesToEven) {
  const std::vector<float> numbers = NumbersOf<TypeParam>();
  EXPECT_EQ(numbers.back(), TypeParam::kLargest);
  for (size_t i = 0; i < numbers.size(); ++i) {
    for (const float sign : {1.0f, -1.0f}) {
      const auto round = [sign](float x) {
        return sign * static_cast<float>(TypeParam(sign * x));
      };
      EXPECT_EQ(round(numbers[i]), numbers[i]);
      if (i + 1 == numbers.size()) continue;
      const float middle = numbers[i] / 2 + numbers[i + 1] / 2;
      EXPECT_EQ(round(middle), numbers[i % 2 == 0 ? i : i + 1]) << middle;
      EXPECT_EQ(round(std::nextafter(middle, 0.0f)), numbers[i]);
      EXPECT_EQ(round(std::nextafter(middle, 1e9f)), numbers[i + 1]);
    }
  }
}

TYPED_TEST(Float8Test, WhatIsTooLargeBecomesTheLargest) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float x : {TypeParam::kLargest * 1.01f, 1e30f, kInfinity}) {
    EXPECT_EQ(static_cast<float>(TypeParam(x)), TypeParam::kLargest);
    EXPECT_EQ(static_cast<float>(TypeParam(-x)), -TypeParam::kLargest);
  }
  EXPECT_TRUE(std::isnan(static_cast<float>(TypeParam(std::nanf("")))));
  EXPECT_TRUE(std::isnan(static_cast<float>(TypeParam(-std::nanf("")))));
  EXPECT_EQ(TypeParam(-0.0f).bits, 0x80);
}

TEST(Float8, NumbersOfTheSpecification) {
  EXPECT_EQ(NumbersOf<FloatE4M3>().size(), 127u);  // All but NaN.
  EXPECT_EQ(NumbersOf<FloatE4M3>()[1], std::ldexp(1.0f, -9));
  EXPECT_EQ(NumbersOf<FloatE5M2>().size(), 124u);  // Infinity, three NaN.
  EXPECT_EQ(NumbersOf<FloatE5M2>()[1], std::ldexp(1.0f, -16));
  FloatE5M2 infinity;
  infinity.bits = 0x7c;
  EXPECT_TRUE(std::isinf(static_cast<float>(infinity)));
}

struct Quantized {
  explicit Quantized(const Tensor& x, DType dtype = DType::kE4M3)
      : values(Empty(x.shape(), dtype)),
        transposed(Empty({x.dim(1), x.dim(0)}, dtype)),
        scale(Empty({1}, DType::kF32)) {
    kernels::quantization_scale(x, dtype, &scale);
    Tensor none;
    kernels::quantize(x, scale, &values, &transposed, &none, &none);
  }

  float factor() const { return *scale.data<float>(); }

  // What it stands for.
  Tensor AsF32() const {
    Tensor wide = Cast(values, DType::kF32);
    Tensor result = EmptyLike(wide);
    kernels::scale(wide, factor(), &result);
    return result;
  }

  Tensor values, transposed, scale;
};

TEST(QuantizeTest, TheLargestElementBecomesTheLargestNumber) {
  for (const Shape& shape : {Shape({1, 1}), Shape({5, 7}), Shape({130, 65})}) {
    for (const DType from : {DType::kF32, DType::kBF16}) {
      const Tensor x = Cast(RandomNormal(shape, 1, DType::kF32), from);
      const Quantized q(x);
      const std::vector<float> elements = ToVector<float>(Cast(x, DType::kF32));
      float largest = 0;
      for (const float e : elements) largest = std::max(largest, std::abs(e));
      EXPECT_EQ(q.factor(), largest / 448);
      for (int64_t r = 0; r < shape[0]; ++r) {
        for (int64_t c = 0; c < shape[1]; ++c) {
          const FloatE4M3 got = q.values.data<FloatE4M3>()[r * shape[1] + c];
          const FloatE4M3 wanted(elements[r * shape[1] + c] * (1 / q.factor()));
          ASSERT_EQ(got.bits, wanted.bits);
          ASSERT_EQ(q.transposed.data<FloatE4M3>()[c * shape[0] + r].bits,
                    wanted.bits);
        }
      }
    }
  }
}

TEST(QuantizeTest, ZerosNothingAndNoNumbers) {
  const Quantized zeros(Zeros({3, 4}, DType::kF32));
  EXPECT_GT(zeros.factor(), 0);
  EXPECT_EQ(ToVector<float>(zeros.AsF32()), std::vector<float>(12, 0));
  EXPECT_GT(Quantized(Zeros({0, 4}, DType::kF32)).factor(), 0);
  for (const float bad : {std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    const Tensor x = Zeros({3, 4}, DType::kF32);
    x.data<float>()[5] = bad;
    const Quantized q(x, DType::kE5M2);
    EXPECT_FALSE(std::isfinite(q.factor()));
    EXPECT_TRUE(std::isnan(ToVector<float>(q.AsF32())[5]));
  }
}

TEST(QuantizeTest, NotesTheLargestAndSumsTheRows) {
  const Tensor x = FromVector<float>({1, -2, 3, 40, -50, 6}, {2, 3});
  const Tensor scale = FromVector<float>({0.1}, {1});
  Tensor y = Empty({2, 3}, DType::kE4M3), none;
  Tensor sum = Empty({3}, DType::kF32);
  const auto largest_of = [&](const Tensor& from, float before) {
    Tensor largest = FromVector<float>({before}, {1});
    kernels::quantize(from, scale, &y, &none, &largest, &sum);
    return *largest.data<float>();
  };
  EXPECT_EQ(largest_of(x, 3), 50);
  EXPECT_EQ(largest_of(x, 60), 60);
  EXPECT_EQ(ToVector<float>(sum), std::vector<float>({41, -52, 9}));
  // 400 and 500 times: rounded, and too large.
  EXPECT_EQ(static_cast<float>(y.data<FloatE4M3>()[3]), 384);
  EXPECT_EQ(static_cast<float>(y.data<FloatE4M3>()[4]), -448);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  x.data<float>()[0] = -kInfinity;
  EXPECT_EQ(largest_of(x, 60), kInfinity);
  x.data<float>()[1] = std::nanf("");
  EXPECT_TRUE(std::isnan(largest_of(x, kInfinity)));
  EXPECT_TRUE(
      std::isnan(largest_of(Zeros({2, 3}, DType::kF32), std::nanf(""))));
}

TEST(QuantizeTest, ProductsAreThoseOfTheRoundedMatrices) {
  const Quantized a(RandomNormal({33, 40}, 1, DType::kF32), DType::kE5M2);
  const Quantized b(RandomNormal({17, 40}, 2, DType::kF32));
  const Tensor bias = RandomNormal({17}, 3, DType::kF32);
  const Tensor addend = RandomNormal({33, 17}, 4, DType::kF32);
  Tensor y = Clone(addend);
  kernels::matmul_quantized(a.values, a.scale, b.values, b.scale, bias, y, &y);
  Tensor wanted = EmptyLike(y);
  kernels::linear(a.AsF32(), b.AsF32(), bias, addend, &wanted);
  EXPECT_THAT(y, IsNear(wanted, 1e-6));
}

// Inputs x [2, 3, 24], weight [17, 24], bias, residual.
std::vector<Tensor> LinearInputs(DType dtype) {
  return {RandomNormal({2, 3, 24}, 1, dtype), RandomNormal({17, 24}, 2, dtype),
          RandomNormal({17}, 3, dtype), RandomNormal({2, 3, 17}, 4, dtype)};
}

TEST(QuantizedLinearTest, IsLinearButForTheRounding) {
  const Differentiated got = ForwardBackward(
      [](const Inputs& in) {
        return QuantizedLinear(in[0], in[1], in[2], in[3]);
      },
      LinearInputs(DType::kF32));
  const Differentiated wanted = ForwardBackward(
      [](const Inputs& in) { return Linear(in[0], in[1], in[2], in[3]); },
      LinearInputs(DType::kF32));
  // Three bits of fraction, two of gradients; sums of many roundings.
  EXPECT_THAT(got.value, IsNear(wanted.value, 0.05));
  EXPECT_THAT(got.value, Not(IsNear(wanted.value, 1e-3)));
  EXPECT_THAT(got.gradients[0], IsNear(wanted.gradients[0], 0.1));
  EXPECT_THAT(got.gradients[1], IsNear(wanted.gradients[1], 0.1));
  EXPECT_THAT(got.gradients[2], IsNear(wanted.gradients[2], 1e-6));
  EXPECT_THAT(got.gradients[3], HasBitsOf(wanted.gradients[3]));
}

TEST(QuantizedLinearTest, GradientsAreProductsOfWhatWasRounded) {
  for (const DType gradient : {DType::kE4M3, DType::kE5M2}) {
    const Tensor x = RandomNormal({6, 24}, 1, DType::kF32);
    const Tensor w = RandomNormal({17, 24}, 2, DType::kF32);
    const Variable vx(x, true), vw(w, true);
    const Variable y = QuantizedLinear(vx, vw, {}, {}, {{}, {}, {}, gradient});
    const Tensor dy = RandomNormal({6, 17}, 3, DType::kF32);
    Backward(y, dy);
    const Tensor d = Quantized(dy, gradient).AsF32();
    const auto product = [](const Tensor& a, bool ta, const Tensor& b, bool tb,
                            const Shape& shape) {
      Tensor result = Empty(shape, DType::kF32);
      kernels::matmul(a, ta, b, tb, false, &result);
      return result;
    };
    const Tensor rounded_x = Quantized(x).AsF32(),
                 rounded_w = Quantized(w).AsF32();
    EXPECT_THAT(
        y.value(),
        IsNear(product(rounded_x, false, rounded_w, true, {6, 17}), 1e-6));
    EXPECT_THAT(vx.gradient(),
                IsNear(product(d, false, rounded_w, false, {6, 24}), 1e-6));
    EXPECT_THAT(vw.gradient(),
                IsNear(product(d, true, rounded_x, false, {17, 24}), 1e-6));
  }
}

TEST(QuantizedLinearTest, TakesBf16) {
  const Differentiated got = ForwardBackward(
      [](const Inputs& in) { return QuantizedLinear(in[0], in[1], in[2]); },
      LinearInputs(DType::kBF16));
  EXPECT_EQ(got.value.dtype(), DType::kBF16);
  const Differentiated wanted = ForwardBackward(
      [](const Inputs& in) { return Linear(in[0], in[1], in[2]); },
      LinearInputs(DType::kBF16));
  EXPECT_THAT(got.value, IsNear(wanted.value, 0.05));
}

FactorScale ScaleFor(float largest, DType dtype = DType::kE4M3) {
  return {
      FromVector<float>({largest / (dtype == DType::kE4M3 ? 448 : 57344)}, {1}),
      Zeros({1}, DType::kF32)};
}

TEST(QuantizedLinearTest, RoundsByTheScalesThatItIsGiven) {
  const Tensor x = RandomNormal({6, 24}, 1, DType::kF32);
  const Tensor w = RandomNormal({17, 24}, 2, DType::kF32);
  const Tensor dy = RandomNormal({6, 17}, 3, DType::kF32);
  const auto largest = [](const Tensor& t) {
    float result = 0;
    for (const float e : ToVector<float>(t)) {
      result = std::max(result, std::abs(e));
    }
    return result;
  };
  // What its own largest asks for, and what lets some be too large.
  for (const float share : {1.0f, 0.5f}) {
    const LinearScales scales = {ScaleFor(share * largest(x)),
                                 ScaleFor(share * largest(w)),
                                 ScaleFor(share * largest(dy))};
    const Variable vx(x, true), vw(w, true), own_x(x, true), own_w(w, true);
    const Variable y = QuantizedLinear(vx, vw, {}, {}, scales);
    Backward(y, dy);
    const Variable own = QuantizedLinear(own_x, own_w);
    Backward(own, dy);
    if (share == 1) {
      EXPECT_THAT(y.value(), HasBitsOf(own.value()));
      EXPECT_THAT(vx.gradient(), HasBitsOf(own_x.gradient()));
      EXPECT_THAT(vw.gradient(), HasBitsOf(own_w.gradient()));
    } else {
      EXPECT_THAT(y.value(), Not(IsNear(own.value(), 0.01)));
      EXPECT_THAT(vx.gradient(), Not(IsNear(own_x.gradient(), 0.01)));
      EXPECT_THAT(vw.gradient(), Not(IsNear(own_w.gradient(), 0.01)));
    }
    EXPECT_EQ(*scales.x.largest.data<float>(), largest(x));
    EXPECT_EQ(*scales.weight.largest.data<float>(), largest(w));
    EXPECT_EQ(*scales.gradient.largest.data<float>(), largest(dy));
  }
}

// Inputs x [2, 3, 16], up [32, 16] and its bias, down [16, 32] and its bias,
// residual.
std::vector<Tensor> FeedForwardInputs(DType dtype) {
  return {
      RandomNormal({2, 3, 16}, 1, dtype), RandomNormal({32, 16}, 2, dtype),
      RandomNormal({32}, 3, dtype),       RandomNormal({16, 32}, 4, dtype),
      RandomNormal({16}, 5, dtype),       RandomNormal({2, 3, 16}, 6, dtype)};
}

TEST(QuantizedFeedForwardTest, IsItsLayersOneAfterTheOther) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Differentiated got = ForwardBackward(
        [](const Inputs& in) {
          return QuantizedGeluTanhFeedForward(in[0], in[1], in[2], in[3], in[4],
                                              in[5], {}, {});
        },
        FeedForwardInputs(dtype));
    const Differentiated wanted = ForwardBackward(
        [](const Inputs& in) {
          return QuantizedLinear(GeluTanh(QuantizedLinear(in[0], in[1], in[2])),
                                 in[3], in[4], in[5]);
        },
        FeedForwardInputs(dtype));
    EXPECT_THAT(got.value, HasBitsOf(wanted.value));
    ASSERT_EQ(got.gradients.size(), wanted.gradients.size());
    for (size_t i = 0; i < wanted.gradients.size(); ++i) {
      EXPECT_THAT(got.gradients[i], HasBitsOf(wanted.gradients[i])) << i;
    }
  }
}

// In eight bits, by ScaleFor(5).
Float8Matrix Rounded(const Tensor& x) {
  Float8Matrix m{Empty(x.shape(), DType::kE4M3),
                 Empty({x.dim(1), x.dim(0)}, DType::kE4M3), ScaleFor(5).scale};
  Tensor none;
  kernels::quantize(x, m.scale, &m.values, &m.transposed, &none, &none);
  return m;
}

// Also with gradients that add to those of a pass before, and with a matrix in
// the place of a weight.
TEST(QuantizedFeedForwardTest, IsItsLayersWithoutWhatIsOptional) {
  for (const auto& [biases, residual] :
       {std::pair{false, false}, std::pair{true, false},
        std::pair{false, true}}) {
    const Float8Matrix other = Rounded(RandomNormal({32, 16}, 7, DType::kF32));
    std::vector<Tensor> gradients[2];
    for (const bool fused : {false, true}) {
      const std::vector<Tensor> values = FeedForwardInputs(DType::kF32);
      const auto leaf = [&](int i, bool wanted) {
        return wanted ? Variable(values[i], true) : Variable();
      };
      const Variable x = leaf(0, true), up = leaf(1, true),
                     up_bias = leaf(2, biases), down = leaf(3, true),
                     down_bias = leaf(4, biases), added = leaf(5, residual);
      for (const Float8Matrix& rounded : {Float8Matrix(), other}) {
        LinearScales of_up = {
            .x = ScaleFor(4), .weight = ScaleFor(5), .gradient = ScaleFor(100)};
        of_up.rounded_weight = rounded;
        Backward(fused ? QuantizedGeluTanhFeedForward(
                             x, up, up_bias, down, down_bias, added, of_up, {})
                       : QuantizedLinear(GeluTanh(QuantizedLinear(
                                             x, up, up_bias, {}, of_up)),
                                         down, down_bias, added));
      }
      for (const Variable& v : {x, up, up_bias, down, down_bias, added}) {
        if (v.defined()) gradients[fused].push_back(v.gradient());
      }
    }
    ASSERT_EQ(gradients[0].size(), gradients[1].size());
    for (size_t i = 0; i < gradients[0].size(); ++i) {
      EXPECT_THAT(gradients[1][i], HasBitsOf(gradients[0][i])) << i;
    }
  }
}

TEST(QuantizedFeedForwardTest, IsNearTheFeedForwardOfTheScales) {
  for (const DType gradient : {DType::kE4M3, DType::kE5M2}) {
    LinearScales up, down;
    const Differentiated wanted = ForwardBackward(
        [](const Inputs& in) {
          return GeluTanhFeedForward(in[0], in[1], in[2], in[3], in[4], in[5]);
        },
        FeedForwardInputs(DType::kF32));
    const Differentiated got = ForwardBackward(
        [&](const Inputs& in) {
          up = {ScaleFor(4), ScaleFor(5), ScaleFor(100, gradient), gradient};
          down = {ScaleFor(20), ScaleFor(5), ScaleFor(5, gradient), gradient};
          return QuantizedGeluTanhFeedForward(in[0], in[1], in[2], in[3], in[4],
                                              in[5], up, down);
        },
        FeedForwardInputs(DType::kF32));
    const double tolerance = gradient == DType::kE4M3 ? 0.1 : 0.15;
    EXPECT_THAT(got.value, IsNear(wanted.value, 0.05));
    for (size_t i = 0; i < wanted.gradients.size(); ++i) {
      EXPECT_THAT(got.gradients[i], IsNear(wanted.gradients[i], tolerance))
          << i;
    }
    for (const LinearScales& scales : {up, down}) {
      for (const FactorScale& factor :
           {scales.x, scales.weight, scales.gradient}) {
        EXPECT_GT(*factor.largest.data<float>(), 0);
      }
    }
  }
}

}  // namespace
}  // namespace nextword

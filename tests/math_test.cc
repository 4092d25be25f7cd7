// Elementary functions in float against the C library's in long double.
#include "autograd/kernels/math.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace nextword {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kMax = std::numeric_limits<float>::max();
constexpr float kTiny = std::numeric_limits<float>::denorm_min();

// Calls f with about `count` floats from `low` to `high`, evenly spaced.
template <typename F>
void Sweep(float low, float high, int count, const F& f) {
  for (int i = 0; i <= count; ++i) f(low + (high - low) * i / count);
}

// Calls f with floats of both signs and of every exponent.
template <typename F>
void SweepExponents(const F& f) {
  for (uint32_t bits = 0; bits < 0x7f800000u; bits += 4099) {
    f(std::bit_cast<float>(bits));
    f(-std::bit_cast<float>(bits));
  }
}

// The distance of `value` from `exact` in units in the last place of a float.
double Ulps(float value, long double exact) {
  int exponent;
  std::frexp(exact, &exponent);
  const long double ulp = std::ldexp(1.0L, std::max(exponent, -125) - 24);
  return static_cast<double>(std::abs(value - exact) / ulp);
}

TEST(ExpTest, IsWithinTwoUlps) {
  double worst = 0;
  float at = 0;
  const auto check = [&](float x) {
    const double error = Ulps(math::Exp(x), std::exp((long double){x}));
    if (error > worst) worst = error, at = x;
  };
  Sweep(-86.9f, 88.72283f, 2000003, check);
  Sweep(88.0f, 88.72283f, 100003, check);
  Sweep(-1.0f, 1.0f, 1000003, check);
  SweepExponents([&](float x) {
    if (std::abs(x) < 86.9f) check(x);
  });
  EXPECT_LE(worst, 2.0) << "at " << at;
}

TEST(ExpTest, EndsOfTheRange) {
  EXPECT_EQ(math::Exp(0.0f), 1.0f);
  EXPECT_EQ(math::Exp(-0.0f), 1.0f);
  EXPECT_EQ(math::Exp(kTiny), 1.0f);
  EXPECT_EQ(math::Exp(-kTiny), 1.0f);
  EXPECT_LT(math::Exp(88.7228f), kInf);
  EXPECT_GT(math::Exp(-86.9f), 0.0f);
  EXPECT_EQ(math::Exp(-86.91f), 0.0f);
  EXPECT_EQ(math::Exp(-1e4f), 0.0f);
  EXPECT_EQ(math::Exp(-kMax), 0.0f);
  EXPECT_EQ(math::Exp(-kInf), 0.0f);
  EXPECT_EQ(math::Exp(88.73f), kInf);
  EXPECT_EQ(math::Exp(1e4f), kInf);
  EXPECT_EQ(math::Exp(kMax), kInf);
  EXPECT_EQ(math::Exp(kInf), kInf);
  EXPECT_TRUE(std::isnan(math::Exp(kNaN)));
  EXPECT_TRUE(std::isnan(math::Exp(-kNaN)));
}

TEST(ErfTest, IsWithin3e7Relative) {
  double worst = 0;
  float at = 0;
  const auto check = [&](float x) {
    const long double exact = std::erf((long double){x});
    if (std::abs(exact) < std::numeric_limits<float>::min()) return;
    const double error =
        static_cast<double>(std::abs((math::Erf(x) - exact) / exact));
    if (error > worst) worst = error, at = x;
  };
  Sweep(-5.0f, 5.0f, 2000003, check);
  Sweep(0.9f, 1.1f, 200003, check);
  SweepExponents(check);
  EXPECT_LE(worst, 3e-7) << "at " << at;
}

TEST(ErfTest, EndsOfTheRange) {
  EXPECT_EQ(math::Erf(0.0f), 0.0f);
  EXPECT_TRUE(std::signbit(math::Erf(-0.0f)));
  for (float x : {4.0f, 10.0f, 1e20f, kMax, kInf}) {
    EXPECT_EQ(math::Erf(x), 1.0f) << x;
    EXPECT_EQ(math::Erf(-x), -1.0f) << x;
  }
  EXPECT_TRUE(std::isnan(math::Erf(kNaN)));
}

TEST(ErfTest, NeverLeavesTheUnitInterval) {
  Sweep(-6.0f, 6.0f, 1000003,
        [](float x) { ASSERT_LE(std::abs(math::Erf(x)), 1.0f) << x; });
}

TEST(SigmoidTest, IsRelativelyExactOnBothSides) {
  double worst = 0;
  float at = 0;
  Sweep(-88.0f, 88.0f, 1000003, [&](float x) {
    const long double exact = 1 / (1 + std::exp(-(long double){x}));
    const double error =
        static_cast<double>(std::abs((math::Sigmoid(x) - exact) / exact));
    if (error > worst) worst = error, at = x;
  });
  EXPECT_LE(worst, 4e-7) << "at " << at;
  EXPECT_EQ(math::Sigmoid(-kInf), 0.0f);
  EXPECT_EQ(math::Sigmoid(-1e30f), 0.0f);
  EXPECT_EQ(math::Sigmoid(kInf), 1.0f);
  EXPECT_TRUE(std::isnan(math::Sigmoid(kNaN)));
}

TEST(TanhTest, IsAbsolutelyExact) {
  double worst = 0;
  float at = 0;
  Sweep(-20.0f, 20.0f, 1000003, [&](float x) {
    const long double exact = std::tanh((long double){x});
    const double error = static_cast<double>(std::abs(math::Tanh(x) - exact));
    if (error > worst) worst = error, at = x;
  });
  EXPECT_LE(worst, 2e-7) << "at " << at;
  EXPECT_EQ(math::Tanh(0.0f), 0.0f);
  EXPECT_EQ(math::Tanh(kInf), 1.0f);
  EXPECT_EQ(math::Tanh(-kInf), -1.0f);
  EXPECT_TRUE(std::isnan(math::Tanh(kNaN)));
}

}  // namespace
}  // namespace nextword

// Kernels as such: accuracy of long sums, conversions, optimizers.
#include "autograd/kernels/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "autograd/base/interruptible.h"
#include "autograd/base/stop.h"
#include "autograd/kernels/math.h"
#include "autograd/ops/layout.h"
#include "autograd/ops/reduction.h"
#include "optim/clip.h"
#include "tests/testing.h"

namespace nextword {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

Tensor Filled(const Shape& shape, double value, DType dtype = DType::kF32) {
  Tensor x = Empty(shape, dtype);
  kernels::fill(&x, value);
  return x;
}

// Rounding 0.1 to f32 at every addition would be off in the third digit.
TEST(SumTest, LongSumsKeepTheirDigits) {
  const int64_t n = 3000000;
  const double exact = static_cast<double>(0.1f) * n;
  const Variable x(Filled({n}, 0.1));
  EXPECT_NEAR(*Sum(x).value().data<float>() / exact, 1, 1e-7);
  for (const Shape& shape : {Shape({n / 3, 3}), Shape({3, n / 3})}) {
    const Variable y = Sum(Reshape(x, shape), shape[0] == 3 ? 1 : 0);
    for (double sum : ToDoubles(y.value())) {
      EXPECT_NEAR(3 * sum / exact, 1, 1e-5);
    }
  }
}

TEST(SumTest, SumsOfSquaresAreInDouble) {
  const int64_t n = 3000001;
  const Tensor squares = SquaresOf(Filled({n}, 0.1));
  const double value = 0.1f;
  EXPECT_EQ(squares.numel(), 367);
  EXPECT_NEAR(*squares.data<double>() / (value * value * 8192), 1, 1e-12);
  EXPECT_NEAR(std::pow(NormOf(squares), 2) / (value * value * n), 1, 1e-12);
  EXPECT_EQ(GlobalNorm(Filled({0}, 1)), 0);
}

// A frequent word's bf16 gradient is a sum of many small ones.
TEST(EmbeddingTest, Bf16GradientsAreSummedInF32) {
  const Tensor ids = Empty({4000}, DType::kI32);
  std::fill_n(ids.data<int32_t>(), 4000, 1);
  const Differentiated got = ForwardBackward(
      [&](const std::vector<Variable>& in) { return Embedding(in[0], ids); },
      {Zeros({2, 3}, DType::kBF16)}, Filled({4000, 3}, 1, DType::kF32));
  EXPECT_EQ(got.gradients[0].dtype(), DType::kBF16);
  EXPECT_THAT(ToDoubles(got.gradients[0]),
              ElementsAre(0, 0, 0, 4000, 4000, 4000));
}

TEST(MaxTest, TheFirstOfEqualsWins) {
  const Differentiated got = ForwardBackward(
      [](const std::vector<Variable>& in) { return Max(in[0]); },
      {FromVector<float>({1, 5, 5, 2, 2, 2}, {2, 3})},
      FromVector<float>({10, 20}, {2}));
  EXPECT_THAT(ToVector<float>(got.value), ElementsAre(5, 2));
  EXPECT_THAT(ToVector<float>(got.gradients[0]),
              ElementsAre(0, 10, 0, 20, 0, 0));
}

// The product of nothing with nothing is zero, whatever memory holds.
TEST(MatmulTest, OutputsAreAssigned) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF64}) {
    for (int64_t inner : {0, 1, 7}) {
      Tensor y =
          Filled({3, 5}, std::numeric_limits<double>::quiet_NaN(), dtype);
      kernels::matmul(Filled({3, inner}, 1, dtype), false,
                      Filled({inner, 5}, 1, dtype), false, false, &y);
      EXPECT_THAT(ToDoubles(y), Each(inner));
    }
  }
}

TEST(MatmulTest, TransposesOfBothOperands) {
  const Tensor a = RandomNormal({7, 5}, 1), b = RandomNormal({3, 7}, 2);
  std::vector<double> wanted;
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 3; ++j) {
      double sum = 0;
      for (int k = 0; k < 7; ++k) {
        sum += a.data<double>()[k * 5 + i] * b.data<double>()[j * 7 + k];
      }
      wanted.push_back(sum);
    }
  }
  for (DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
    Tensor y = Empty({5, 3}, dtype);
    kernels::matmul(Cast(a, dtype), true, Cast(b, dtype), true, false, &y);
    EXPECT_THAT(y, IsNear(FromVector(wanted, {5, 3}),
                          dtype == DType::kBF16 ? 1e-2 : 1e-6));
  }
}

// Vector code, tails and the scalar function agree to the bit.
TEST(UnaryTest, EveryLaneIsTheSameFunction) {
  const Tensor x = RandomNormal({1000}, 1, DType::kF32);
  for (int64_t n = 1; n < 100; n += 7) {
    Tensor y = Empty({n}, DType::kF32);
    kernels::exp(x.View(n, {n}), &y);
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(y.data<float>()[i], math::Exp(x.data<float>()[n + i])) << i;
    }
  }
}

TEST(CopyTest, ConvertsBetweenFloatingDTypes) {
  const Tensor x = FromVector<double>({0, -1.5, 1e-3, 3e38, 65504}, {5});
  for (DType from : {DType::kF64, DType::kF32, DType::kBF16}) {
    for (DType to : {DType::kF64, DType::kF32, DType::kBF16}) {
      const Tensor y = Cast(Cast(x, from), to);
      EXPECT_EQ(y.dtype(), to);
      EXPECT_THAT(y, IsNear(x, 1.0 / 256));
    }
  }
  EXPECT_TRUE(Cast(x, DType::kF64).SharesStorageWith(x));
  EXPECT_FALSE(Clone(x).SharesStorageWith(x));
  const Tensor ids = FromVector<int32_t>({3, -4}, {2});
  EXPECT_THAT(ToVector<int32_t>(Clone(ids)), ElementsAre(3, -4));
}

TEST(AccumulateTest, AddsInTheWiderDType) {
  for (DType narrow : {DType::kBF16, DType::kF32}) {
    Tensor sum = Filled({3}, 256);
    for (int i = 0; i < 3; ++i) {
      kernels::accumulate(Filled({3}, 1, narrow), &sum);
    }
    EXPECT_THAT(ToVector<float>(sum), Each(259));
  }
}

TEST(AccumulateTest, AddsManyTensors) {
  const std::vector<Tensor> x = {Filled({3}, 1), Filled({0}, 0),
                                 Filled({2, 2}, 7)};
  const std::vector<Tensor> sums = {Filled({3}, 2), Filled({0}, 0),
                                    Filled({2, 2}, 1)};
  kernels::accumulate_each(x, sums);
  EXPECT_THAT(ToVector<float>(sums[0]), Each(3));
  EXPECT_THAT(ToVector<float>(sums[2]), Each(8));
}

TEST(FillTest, IntegersToo) {
  EXPECT_THAT(ToVector<int32_t>(Filled({3}, -7, DType::kI32)), Each(-7));
}

// Against the paper's recurrence in double, over several steps.
TEST(InterruptibleScopeTest, KernelsAreLeftOutFromARequestOn) {
  ForgetStop();
  Tensor x = Filled({3}, 1);
  const InterruptibleScope outer;
  kernels::fill(&x, 2);
  EXPECT_THAT(ToVector<float>(x), Each(2));
  EXPECT_FALSE(outer.interrupted());
  RequestStop("a test");
  EXPECT_FALSE(outer.interrupted()) << "nothing has been left out";
  {
    const InterruptibleScope whole(false);
    kernels::fill(&x, 3);
    EXPECT_FALSE(whole.interrupted());
  }
  std::thread([&] { kernels::fill(&x, 4); }).join();
  EXPECT_THAT(ToVector<float>(x), Each(4));
  kernels::fill(&x, 5);
  EXPECT_THAT(ToVector<float>(x), Each(4));
  EXPECT_TRUE(outer.interrupted());
  // What follows would rest on what is missing.
  ForgetStop();
  kernels::fill(&x, 6);
  EXPECT_THAT(ToVector<float>(x), Each(4));
}

TEST(AdamWTest, FollowsTheRecurrence) {
  const int64_t n = 37;
  const kernels::AdamWParams base{.learning_rate = 0.01,
                                  .beta1 = 0.9,
                                  .beta2 = 0.95,
                                  .epsilon = 1e-8,
                                  .weight_decay = 0.1,
                                  .grad_scale = 0.5,
                                  .step = 0};
  Tensor param = RandomNormal({n}, 1, DType::kF32);
  Tensor m = Zeros({n}, DType::kF32), v = Zeros({n}, DType::kF32);
  Tensor copy = Empty({n}, DType::kBF16);
  std::vector<double> p = ToDoubles(param), mean(n), square(n);
  for (int step = 1; step <= 5; ++step) {
    Tensor grad = RandomNormal({n}, 10 + step, DType::kF32);
    const std::vector<double> gradients = ToDoubles(grad);
    kernels::AdamWParams params = base;
    params.step = step;
    kernels::adamw(&param, &grad, &m, &v, &copy, params);
    EXPECT_THAT(ToDoubles(grad), Each(0));
    for (int64_t i = 0; i < n; ++i) {
      const double g = 0.5 * gradients[i];
      mean[i] = 0.9 * mean[i] + 0.1 * g;
      square[i] = 0.95 * square[i] + 0.05 * g * g;
      const double m_hat = mean[i] / (1 - std::pow(0.9, step));
      const double v_hat = square[i] / (1 - std::pow(0.95, step));
      p[i] -= 0.01 * (m_hat / (std::sqrt(v_hat) + 1e-8) + 0.1 * p[i]);
    }
  }
  EXPECT_THAT(param, IsNear(FromVector(p, {n}), 1e-6));
  EXPECT_THAT(copy, HasBitsOf(Cast(param, DType::kBF16)));
  EXPECT_THAT(m, IsNear(FromVector(mean, {n}), 1e-6));
  EXPECT_THAT(v, IsNear(FromVector(square, {n}), 1e-6));
}

constexpr kernels::Rounding kStochastic{
    .stochastic = true, .key = {.seed = 1, .step = 2}, .first = 0};

TEST(StochasticRoundingTest, IsRightOnAverage) {
  constexpr int64_t kCount = 1 << 16;
  const float step = std::ldexp(1.0f, -7);  // Of bf16, from 1 to 2.
  for (const float share : {0.0f, 0.01f, 0.25f, 0.5f, 0.9f}) {
    for (const float sign : {1.0f, -1.0f}) {
      const Tensor x = Filled({kCount}, sign * (1 + share * step));
      Tensor y = Empty({kCount}, DType::kBF16);
      kernels::round_to_bf16(x, kStochastic, &y);
      double up = 0;
      for (const float rounded : ToVector<float>(Cast(y, DType::kF32))) {
        ASSERT_TRUE(rounded == sign || rounded == sign * (1 + step));
        up += rounded == sign ? 0 : 1;
      }
      // Four standard deviations; none where there is nothing to round.
      const double deviation = std::sqrt(share * (1 - share) / kCount);
      EXPECT_NEAR(up / kCount, share, 4 * deviation);
    }
  }
}

TEST(StochasticRoundingTest, WhatIsNotFiniteStaysSo) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Tensor x = FromVector<float>(
      {kInfinity, -kInfinity, std::nanf(""), std::bit_cast<float>(0x7f800001u)},
      {4});
  Tensor y = Empty({4}, DType::kBF16);
  kernels::round_to_bf16(x, kStochastic, &y);
  const std::vector<float> got = ToVector<float>(Cast(y, DType::kF32));
  EXPECT_EQ(got[0], kInfinity);
  EXPECT_EQ(got[1], -kInfinity);
  EXPECT_TRUE(std::isnan(got[2]) && std::isnan(got[3]));
}

TEST(StochasticRoundingTest, PartsAreRoundedAsTheWhole) {
  const Tensor x = RandomPositive({1003}, 1, DType::kF32);
  const auto round = [&](int64_t begin, int64_t end, Tensor* to) {
    kernels::Rounding rounding = kStochastic;
    rounding.first += begin;
    Tensor part = to->View(begin, {end - begin});
    kernels::round_to_bf16(x.View(begin, {end - begin}), rounding, &part);
  };
  Tensor whole = Empty({1003}, DType::kBF16),
         parts = Empty({1003}, DType::kBF16);
  round(0, 1003, &whole);
  for (const auto& [begin, end] :
       {std::pair{0, 1}, {1, 2}, {2, 501}, {501, 503}, {503, 1003}}) {
    round(begin, end, &parts);
  }
  EXPECT_THAT(parts, HasBitsOf(whole));
}

TEST(SgdTest, FollowsTheRecurrence) {
  const int64_t n = 37;
  Tensor param = RandomNormal({n}, 1, DType::kF32);
  Tensor momentum = Zeros({n}, DType::kF32);
  Tensor copy = Empty({n}, DType::kBF16);
  std::vector<double> p = ToDoubles(param), b(n);
  for (int step = 1; step <= 5; ++step) {
    Tensor grad = RandomNormal({n}, 10 + step, DType::kF32);
    const std::vector<double> gradients = ToDoubles(grad);
    kernels::sgd(&param, &grad, &momentum, &copy, 0.01, 0.9, 0.1, 0.5);
    EXPECT_THAT(ToDoubles(grad), Each(0));
    for (int64_t i = 0; i < n; ++i) {
      b[i] = 0.9 * b[i] + 0.5 * gradients[i];
      p[i] -= 0.01 * (b[i] + 0.1 * p[i]);
    }
  }
  EXPECT_THAT(param, IsNear(FromVector(p, {n}), 1e-6));
  EXPECT_THAT(copy, HasBitsOf(Cast(param, DType::kBF16)));
  EXPECT_THAT(momentum, IsNear(FromVector(b, {n}), 1e-6));
}

}  // namespace
}  // namespace nextword

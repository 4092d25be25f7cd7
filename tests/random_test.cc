// Philox, and what is drawn with it: normal values and dropout masks.
#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "autograd/kernels/kernels.h"
#include "autograd/ops/activation.h"
#include "autograd/tensor/philox.h"
#include "tests/testing.h"

namespace nextword {
namespace {

using ::testing::ElementsAreArray;

std::vector<uint32_t> Words(const PhiloxBlock& block) {
  return {block.v[0], block.v[1], block.v[2], block.v[3]};
}

// The vectors that Random123 publishes for philox4x32-10.
TEST(PhiloxTest, KnownAnswers) {
  EXPECT_THAT(
      Words(Philox({{0, 0, 0, 0}}, 0)),
      ElementsAreArray({0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_THAT(
      Words(Philox({{~0u, ~0u, ~0u, ~0u}}, ~uint64_t{0})),
      ElementsAreArray({0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_THAT(
      Words(Philox({{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}},
                   0x299f31d0a4093822u)),
      ElementsAreArray({0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(RandomKeyTest, StreamsDiffer) {
  std::set<std::vector<uint32_t>> blocks;
  int count = 0;
  for (uint64_t seed : {0, 1, 2}) {
    for (uint64_t step : {0, 1, 2}) {
      for (uint32_t site : {0, 1, 2}) {
        for (uint32_t sample : {0, 1, 2}) {
          for (uint32_t index : {0, 1, 2}) {
            blocks.insert(
                Words(RandomWords({seed, step, site, sample}, index)));
            ++count;
          }
        }
      }
    }
  }
  EXPECT_EQ(blocks.size(), count);
}

TEST(UniformTest, EndsOfTheRange) {
  EXPECT_EQ(UniformFloat(0), 0.0f);
  EXPECT_LT(UniformFloat(~0u), 1.0f);
  EXPECT_GT(UniformOpen(0), 0.0);
  EXPECT_EQ(UniformOpen(~0u), 1.0);
}

// Each within five standard errors.
TEST(NormalTest, Moments) {
  const int64_t n = 1000000;
  Tensor x = Empty({n}, DType::kF32);
  kernels::normal(&x, {.seed = 42}, 3.0);
  double sums[5] = {};
  double neighbours = 0, within_one = 0, within_two = 0;
  const std::vector<double> values = ToDoubles(x);
  for (int64_t i = 0; i < n; ++i) {
    const double z = values[i] / 3;
    double power = 1;
    for (double& sum : sums) sum += power, power *= z;
    if (i > 0) neighbours += z * values[i - 1] / 3;
    within_one += std::abs(z) < 1;
    within_two += std::abs(z) < 2;
  }
  const double error = 1 / std::sqrt(static_cast<double>(n));
  EXPECT_NEAR(sums[1] / n, 0, 5 * error);
  EXPECT_NEAR(sums[2] / n, 1, 5 * error * std::sqrt(2.0));
  EXPECT_NEAR(sums[3] / n, 0, 5 * error * std::sqrt(15.0));
  EXPECT_NEAR(sums[4] / n, 3, 5 * error * std::sqrt(96.0));
  EXPECT_NEAR(neighbours / n, 0, 5 * error);
  EXPECT_NEAR(within_one / n, 0.682689, 5 * error * 0.466);
  EXPECT_NEAR(within_two / n, 0.954500, 5 * error * 0.209);
}

TEST(NormalTest, DependsOnTheKeyAlone) {
  const auto draw = [](int64_t n, RandomKey key, DType dtype) {
    Tensor x = Empty({n}, dtype);
    kernels::normal(&x, key, 1);
    return x;
  };
  const Tensor x = draw(1001, {.seed = 1}, DType::kF64);
  EXPECT_THAT(draw(1001, {.seed = 1}, DType::kF64), HasBitsOf(x));
  EXPECT_THAT(draw(10, {.seed = 1}, DType::kF64), HasBitsOf(x.Rows(0, 10)));
  EXPECT_THAT(draw(1001, {.seed = 1}, DType::kF32),
              HasBitsOf(Cast(x, DType::kF32)));
  for (RandomKey key : {RandomKey{.seed = 2},
                        {.seed = 1, .step = 1},
                        {.seed = 1, .site = 1},
                        {.seed = 1, .sample = 1}}) {
    EXPECT_THAT(draw(1001, key, DType::kF64), ::testing::Not(HasBitsOf(x)));
  }
}

Tensor DropoutOfOnes(const Shape& shape, double p, const RandomKey& key) {
  Tensor ones = Empty(shape, DType::kF32);
  kernels::fill(&ones, 1);
  return Dropout(Variable(ones), p, key).value();
}

TEST(DropoutTest, RateAndScale) {
  const int64_t n = 400000;
  for (double p : {0.1, 0.5, 0.9}) {
    const std::vector<float> y =
        ToVector<float>(DropoutOfOnes({4, n / 4}, p, {.seed = 3}));
    const float kept = 1 / (1 - static_cast<float>(p));
    int64_t zeros = 0;
    for (float value : y) {
      ASSERT_TRUE(value == 0 || value == kept) << value;
      zeros += value == 0;
    }
    const double rate = static_cast<double>(zeros) / n;
    EXPECT_NEAR(rate, p, 5 * std::sqrt(p * (1 - p) / n));
  }
}

// A sample's mask is its own, whoever shares the batch.
TEST(DropoutTest, MasksDoNotDependOnTheBatch) {
  const RandomKey key{.seed = 3, .step = 5, .site = 2, .sample = 10};
  const Tensor batch = DropoutOfOnes({5, 3, 67}, 0.4, key);
  for (uint32_t sample = 0; sample < 5; ++sample) {
    RandomKey alone = key;
    alone.sample += sample;
    EXPECT_THAT(DropoutOfOnes({1, 3, 67}, 0.4, alone),
                HasBitsOf(batch.Rows(sample, sample + 1)));
  }
  EXPECT_THAT(batch.Rows(0, 1), ::testing::Not(HasBitsOf(batch.Rows(1, 2))));
}

TEST(DropoutTest, BackwardUsesTheSameMask) {
  const RandomKey key{.seed = 3};
  Tensor ones = Empty({4, 50}, DType::kF32);
  kernels::fill(&ones, 1);
  const Differentiated got = ForwardBackward(
      [&](const std::vector<Variable>& in) { return Dropout(in[0], 0.4, key); },
      {ones}, ones);
  EXPECT_THAT(got.gradients[0], HasBitsOf(got.value));
}

TEST(DropoutTest, DroppedInfinitiesBecomeZero) {
  Tensor x = Empty({1, 1000}, DType::kF32);
  kernels::fill(&x, INFINITY);
  const Tensor y = Dropout(Variable(x), 0.5, {}).value();
  for (double value : ToDoubles(y)) {
    EXPECT_TRUE(value == 0 || value == INFINITY);
  }
}

}  // namespace
}  // namespace nextword

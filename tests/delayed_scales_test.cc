// Scales that follow from the steps before.
#include "layers/delayed_scales.h"

#include <cmath>
#include <vector>

#include "autograd/kernels/kernels.h"
#include "gmock/gmock.h"
#include "tests/testing.h"

namespace nextword::layers {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class DelayedScalesTest : public ::testing::Test {
 protected:
  static float Value(const Tensor& x) { return ToVector<float>(x).front(); }

  // As a step notes them: x, weight and gradient of both layers.
  void Note(const std::vector<float>& largest) {
    size_t i = 0;
    for (const Variable& weight : weights_) {
      const LinearScales of = scales_.Of(weight);
      for (const FactorScale& factor : {of.x, of.weight, of.gradient}) {
        *factor.largest.data<float>() = largest[i++];
      }
    }
  }

  const std::vector<Variable> weights_ = {
      Variable(RandomNormal({2, 3}, 1, DType::kF32)),
      Variable(RandomNormal({4, 2}, 2, DType::kF32))};
  const std::vector<NamedVariable> named_ = {{"up", weights_[0]},
                                             {"down", weights_[1]}};
  DelayedScales scales_{named_, DType::kE5M2, Device::Cpu()};
};

TEST_F(DelayedScalesTest, KnowsNothingAtFirst) {
  EXPECT_FALSE(scales_.known());
  EXPECT_THAT(scales_.expected(), IsEmpty());
  const LinearScales of = scales_.Of(weights_[1]);
  EXPECT_FALSE(of.x.scale.defined());
  EXPECT_EQ(of.gradient_dtype, DType::kE5M2);
  Note({1, 2, 3, 4, 5, 6});
  EXPECT_THAT(scales_.TakeLargest(), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(scales_.TakeLargest(), ElementsAre(0, 0, 0, 0, 0, 0));
}

TEST_F(DelayedScalesTest, KnowsWhoseFactorsTheseAre) {
  EXPECT_EQ(scales_.LayerOf(2), "up");
  EXPECT_EQ(scales_.KindOf(2), "a gradient in eight bits");
  EXPECT_EQ(scales_.LayerOf(3), "down");
  EXPECT_EQ(scales_.KindOf(3), "an input in eight bits");
  EXPECT_EQ(scales_.KindOf(4), "a weight in eight bits");
}

TEST_F(DelayedScalesTest, LeavesRoomForTwiceTheLargest) {
  scales_.Update({1, 2, 3, 4, 5, 6});
  ASSERT_TRUE(scales_.known());
  const LinearScales of = scales_.Of(weights_[1]);
  EXPECT_FLOAT_EQ(Value(of.x.scale), 2.0f * 4 / 448);
  EXPECT_FLOAT_EQ(Value(of.weight.scale), 2.0f * 5 / 448);
  EXPECT_FLOAT_EQ(Value(of.gradient.scale), 2.0f * 6 / 57344);
}

TEST_F(DelayedScalesTest, WhatWasLargeFadesAway) {
  scales_.Update({8, 8, 8, 8, 8, 8});
  scales_.Update({9, 7, 1, 0, 8, 6.5});
  EXPECT_THAT(scales_.expected(), ElementsAre(9, 7, 7, 7, 8, 7));
  // In the same memory: a recorded step reads it there.
  const LinearScales before = scales_.Of(weights_[0]);
  scales_.Update({9, 9, 9, 9, 9, 9});
  EXPECT_FLOAT_EQ(Value(before.weight.scale), 2.0f * 9 / 448);
}

TEST_F(DelayedScalesTest, RoundsWeightsOnceAStep) {
  scales_.RoundWeights();  // Of which nothing is known.
  EXPECT_FALSE(scales_.Of(weights_[0]).rounded_weight.defined());
  scales_.Update({8, 1, 8, 8, 2, 8});
  EXPECT_FALSE(scales_.Of(weights_[0]).rounded_weight.defined());
  scales_.RoundWeights();
  const std::vector<float> noted = scales_.TakeLargest();
  EXPECT_GT(noted[1], 0);
  EXPECT_GT(noted[4], 0);
  EXPECT_EQ(noted[0], 0);
  const LinearScales of = scales_.Of(weights_[0]);
  const Variable x(RandomNormal({5, 3}, 3, DType::kF32));
  LinearScales by_layer = of;
  by_layer.rounded_weight = {};
  EXPECT_THAT(
      QuantizedLinear(x, weights_[0], {}, {}, of).value(),
      HasBitsOf(QuantizedLinear(x, weights_[0], {}, {}, by_layer).value()));
  // In the same memory, by another scale.
  scales_.Update({8, 4, 8, 8, 4, 8});
  EXPECT_FALSE(scales_.Of(weights_[0]).rounded_weight.defined());
  scales_.RoundWeights();
  EXPECT_EQ(scales_.Of(weights_[0]).rounded_weight.values.raw_data(),
            of.rounded_weight.values.raw_data());
  const LinearScales later = scales_.Of(weights_[0]);
  by_layer = later;
  by_layer.rounded_weight = {};
  EXPECT_THAT(
      QuantizedLinear(x, weights_[0], {}, {}, later).value(),
      HasBitsOf(QuantizedLinear(x, weights_[0], {}, {}, by_layer).value()));
}

TEST_F(DelayedScalesTest, ZerosKeepScalesThatCanBeInverted) {
  scales_.Update({0, 0, 0, 0, 0, 3e38});
  const LinearScales of = scales_.Of(weights_[1]);
  EXPECT_TRUE(std::isfinite(1 / Value(of.x.scale)));
  EXPECT_TRUE(std::isfinite(Value(of.gradient.scale)));
}

TEST_F(DelayedScalesTest, GoesOnWhereItWas) {
  scales_.Update({1, 2, 3, 4, 5, 6});
  Note({1, 1, 1, 1, 1, 1});  // Of a step that was given up.
  DelayedScales other(named_, DType::kE5M2, Device::Cpu());
  const std::vector<float> expected = scales_.expected();
  ASSERT_TRUE(other.Restore(expected).ok());
  ASSERT_TRUE(scales_.Restore(expected).ok());
  EXPECT_THAT(scales_.TakeLargest(), ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(other.Of(weights_[0]).gradient.scale,
              HasBitsOf(scales_.Of(weights_[0]).gradient.scale));
  ASSERT_TRUE(other.Restore({}).ok());
  EXPECT_FALSE(other.known());
  const absl::Status status = other.Restore(std::vector<float>(3, 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the largest magnitudes of 3 factors, wanted 6"));
}

}  // namespace
}  // namespace nextword::layers

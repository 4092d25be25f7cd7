// Single steps of a learner: what of them is skipped, and where it goes on.
#include "distributed/learner.h"

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "autograd/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing.h"
#include "tests/testing_learner.h"
#include "tests/testing_models.h"

namespace nextword {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TrainConfig Float8Config() {
  TrainConfig config = ConfigOf(Gpt2Like(), CPU);
  config.set_compute_dtype(FP8);
  return config;
}

Tensor WeightOf(const Learner& learner, const std::string& name) {
  for (const Parameters::Entry& entry : learner.parameters().entries()) {
    if (entry.name == name) return learner.parameters().ValueOf(entry);
  }
  ADD_FAILURE() << "no " << name;
  return Tensor();
}

std::vector<float> Values(const Learner& learner) {
  return ToVector<float>(learner.parameters().values());
}

// As if it had come back from a checkpoint.
void Resume(Learner* learner) {
  NW_CHECK_OK(learner->ResumeAt(learner->step(), learner->next_sequence(),
                                learner->expected_factors()));
}

TEST(LearnerTest, SaysWhoseGradientIsNotFinite) {
  const auto learner = NewLearner(Gpt2Like(), CPU);
  NW_CHECK_OK(learner->Initialize());
  WeightOf(*learner, "blocks.1.mlp.up.weight").data<float>()[0] = kInfinity;
  Resume(learner.get());
  const std::vector<float> before = Values(*learner);
  const Learner::StepResult result = Step(learner.get());
  ASSERT_TRUE(result.skipped());
  EXPECT_EQ(result.not_finite, "a loss");
  EXPECT_FALSE(result.bad_parameter.empty());
  EXPECT_EQ(Values(*learner), before);
  EXPECT_EQ(learner->step(), 1);
}

// In eight bits it is the largest number: the loss does not show it.
TEST(LearnerTest, SaysWhichFactorIsNotFinite) {
  const auto learner = NewLearner(Float8Config());
  NW_CHECK_OK(learner->Initialize());
  ASSERT_FALSE(Step(learner.get()).skipped());
  const Tensor weight = WeightOf(*learner, "blocks.1.attn.qkv.weight");
  const float was = weight.data<float>()[5];
  weight.data<float>()[5] = kInfinity;
  Resume(learner.get());
  const std::vector<float> before = Values(*learner);
  const std::vector<float> expected = learner->expected_factors();
  for (int i = 0; i < 2; ++i) {  // A step that was skipped forgets nothing.
    const Learner::StepResult result = Step(learner.get());
    EXPECT_TRUE(std::isfinite(result.loss));
    EXPECT_TRUE(std::isfinite(result.gradient_norm));
    EXPECT_EQ(result.not_finite, "a weight in eight bits");
    EXPECT_EQ(result.bad_parameter, "blocks.1.attn.qkv.weight");
    EXPECT_EQ(Values(*learner), before);
    EXPECT_EQ(learner->expected_factors(), expected);
  }
  weight.data<float>()[5] = was;
  Resume(learner.get());
  EXPECT_FALSE(Step(learner.get()).skipped());
}

// Also to before anything was expected.
TEST(LearnerTest, GoesBackInEightBits) {
  TrainConfig config = Float8Config();
  config.set_cuda_graph(true);  // Which a CPU does without.
  const auto learner = NewLearner(config), other = NewLearner(config);
  NW_CHECK_OK(learner->Initialize());
  EXPECT_TRUE(learner->expected_factors().empty());
  const auto start = NewLearner(config);
  Continue(*learner, start.get());
  const std::vector<double> losses = Train(3, learner.get());
  Continue(*learner, other.get());
  const std::vector<double> later = Train(2, learner.get());
  EXPECT_EQ(Train(2, other.get()), later);
  EXPECT_EQ(other->expected_factors(), learner->expected_factors());
  EXPECT_THAT(other->parameters().values(),
              HasBitsOf(learner->parameters().values()));
  Continue(*start, other.get());
  EXPECT_EQ(Train(3, other.get()), losses);
}

}  // namespace
}  // namespace nextword

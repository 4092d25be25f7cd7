// Parameters: leaves as views of flat buffers.
#include "autograd/parameters.h"

#include <vector>

#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "tests/testing.h"

namespace nextword {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

Variable Leaf(const Shape& shape) {
  return Variable(Tensor::Declared(shape, DType::kF32), true);
}

class ParametersTest : public ::testing::Test {
 protected:
  Variable weight_ = Leaf({2, 3}), empty_ = Leaf({0, 4}), bias_ = Leaf({2});
  Parameters parameters_{
      {{"weight", weight_}, {"empty", empty_}, {"bias", bias_}},
      DType::kF32,
      Device::Cpu()};
};

TEST_F(ParametersTest, VectorsLieBeforeMatrices) {
  EXPECT_EQ(parameters_.numel(), 8);
  EXPECT_EQ(parameters_.values().shape(), Shape({8}));
  ASSERT_EQ(parameters_.entries().size(), 3u);
  const Parameters::Entry& bias = parameters_.entries()[0];
  const Parameters::Entry& weight = parameters_.entries()[1];
  EXPECT_EQ(bias.name, "bias");
  EXPECT_EQ(bias.offset, 0);
  EXPECT_EQ(bias.numel(), 2);
  EXPECT_FALSE(bias.is_matrix());
  EXPECT_EQ(parameters_.vectors().end, 2);
  EXPECT_EQ(weight.name, "weight");
  EXPECT_EQ(weight.offset, 2);
  EXPECT_TRUE(weight.is_matrix());
}

TEST_F(ParametersTest, LeavesAreViewsOfTheValues) {
  Tensor values = parameters_.values();
  for (int i = 0; i < 8; ++i) values.data<float>()[i] = static_cast<float>(i);
  EXPECT_THAT(ToVector<float>(weight_.value()), ElementsAre(2, 3, 4, 5, 6, 7));
  EXPECT_THAT(ToVector<float>(bias_.value()), ElementsAre(0, 1));
  EXPECT_EQ(weight_.shape(), Shape({2, 3}));
}

TEST_F(ParametersTest, BackwardAddsToTheFlatGradients) {
  Tensor values = parameters_.values();
  kernels::fill(&values, 1.0);
  EXPECT_THAT(ToVector<float>(parameters_.gradients()), Each(0));
  const Variable x(FromVector<float>({1, 2, 3}, {1, 3}));
  for (int pass = 1; pass <= 2; ++pass) {
    Backward(Linear(x, weight_, bias_));
    const float p = static_cast<float>(pass);
    EXPECT_THAT(ToVector<float>(parameters_.gradients()),
                ElementsAre(p, p, p, 2 * p, 3 * p, p, 2 * p, 3 * p));
  }
  parameters_.ZeroGradients();
  EXPECT_THAT(ToVector<float>(parameters_.gradients()), Each(0));
  Backward(bias_);
  EXPECT_THAT(ToVector<float>(parameters_.gradients()),
              ElementsAre(1, 1, 0, 0, 0, 0, 0, 0));
}

TEST(ParametersDeathTest, Names) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(Parameters({{"w", Leaf({1})}, {"w", Leaf({2})}}, DType::kF32,
                          Device::Cpu()),
               "two parameters are named w");
}

TEST(BindTest, GradientsMayBeWiderThanValues) {
  Variable x(Zeros({2}, DType::kBF16), true);
  x.Bind(x.value(), Zeros({2}, DType::kF32));
  // 256 + 1 is no bf16 number.
  Backward(Scale(x, 256));
  Backward(Scale(x, 1));
  EXPECT_THAT(ToVector<float>(x.gradient()), ElementsAre(257, 257));
}

TEST(BindDeathTest, ShapesAndLeaves) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  Variable x(Zeros({2}, DType::kF32), true);
  EXPECT_DEATH(x.Bind(Zeros({3}, DType::kF32), Tensor()),
               R"(Bind of f32\[3\] to a variable of shape \[2\])");
  Variable y = Scale(x, 2);
  EXPECT_DEATH(y.Bind(Zeros({2}, DType::kF32), Tensor()),
               "Bind of the result of scale");
}

}  // namespace
}  // namespace nextword

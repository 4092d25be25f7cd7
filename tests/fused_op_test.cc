// Fused ops against the same maths composed of plain ops, and what they promise
// beyond values: the gradient of cross-entropy, the reach of attention.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/activation.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/layout.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/reduction.h"
#include "autograd/tensor/allocator.h"
#include "tests/testing.h"

namespace nextword {
namespace {

using ::testing::Each;

using Inputs = std::vector<Variable>;

// Values and gradients of the two agree, in f64 to its precision and in f32.
void ExpectSameMaths(const TensorFunction& fused,
                     const TensorFunction& composed,
                     const std::vector<Shape>& shapes) {
  for (const auto& [dtype, tolerance] :
       {std::pair(DType::kF64, 1e-12), std::pair(DType::kF32, 2e-6)}) {
    SCOPED_TRACE(DTypeName(dtype));
    std::vector<Tensor> inputs;
    for (const Shape& shape : shapes) {
      inputs.push_back(RandomNormal(shape, inputs.size() + 1, dtype));
    }
    const Differentiated got = ForwardBackward(fused, inputs);
    const Differentiated wanted = ForwardBackward(composed, inputs);
    EXPECT_THAT(got.value, IsNear(wanted.value, tolerance));
    for (size_t i = 0; i < inputs.size(); ++i) {
      SCOPED_TRACE("gradient of input " + std::to_string(i));
      EXPECT_THAT(got.gradients[i], IsNear(wanted.gradients[i], tolerance));
    }
  }
}

// One mean, or sum, per row of x [R, C] as [R, 1].
Variable RowMean(const Variable& x) {
  return Reshape(Mean(x, -1), {x.dim(0), 1});
}
Variable RowSum(const Variable& x) {
  return Reshape(Sum(x, -1), {x.dim(0), 1});
}

Variable Constant(double value, DType dtype) {
  Tensor x = Empty(Shape(), dtype);
  kernels::fill(&x, value);
  return Variable(x);
}

TEST(FusedOpTest, Linear) {
  ExpectSameMaths(
      [](const Inputs& in) { return Linear(in[0], in[1], in[2]); },
      [](const Inputs& in) { return Add(Matmul(in[0], in[1], true), in[2]); },
      {{2, 9, 33}, {17, 33}, {17}});
}

TEST(FusedOpTest, LinearWithResidual) {
  ExpectSameMaths(
      [](const Inputs& in) { return Linear(in[0], in[1], in[2], in[3]); },
      [](const Inputs& in) {
        return Add(Add(Matmul(in[0], in[1], true), in[2]), in[3]);
      },
      {{2, 9, 33}, {17, 33}, {17}, {2, 9, 17}});
}

TEST(FusedOpTest, GeluTanhFeedForward) {
  ExpectSameMaths(
      [](const Inputs& in) {
        return GeluTanhFeedForward(in[0], in[1], in[2], in[3], in[4], in[5]);
      },
      [](const Inputs& in) {
        return Linear(GeluTanh(Linear(in[0], in[1], in[2])), in[3], in[4],
                      in[5]);
      },
      {{2, 9, 33}, {17, 33}, {17}, {5, 17}, {5}, {2, 9, 5}});
}

TEST(FusedOpTest, Softmax) {
  ExpectSameMaths([](const Inputs& in) { return Softmax(in[0]); },
                  [](const Inputs& in) {
                    const Variable e = Exp(in[0]);
                    return Div(e, RowSum(e));
                  },
                  {{13, 77}});
}

TEST(FusedOpTest, SoftmaxOfLargeValuesDoesNotOverflow) {
  const Tensor x = FromVector<float>({1e4f, 1e4f, -1e4f, 1e38f, 0, 0}, {2, 3});
  EXPECT_THAT(Softmax(Variable(x)).value(),
              HasBitsOf(FromVector<float>({0.5f, 0.5f, 0, 1, 0, 0}, {2, 3})));
}

TEST(FusedOpTest, SoftmaxDoesNotHideNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& row :
       {std::vector<float>{nan, nan}, {1, nan}, {nan, 1}}) {
    const Variable y = Softmax(Variable(FromVector(row, {2})));
    for (double value : ToDoubles(y.value())) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(FusedOpTest, LayerNorm) {
  ExpectSameMaths(
      [](const Inputs& in) { return LayerNorm(in[0], in[1], in[2], 1e-3); },
      [](const Inputs& in) {
        const Variable centred = Sub(in[0], RowMean(in[0]));
        const Variable variance = RowMean(Mul(centred, centred));
        const Variable epsilon = Constant(1e-3, in[0].dtype());
        const Variable normal = Div(centred, Sqrt(Add(variance, epsilon)));
        return Add(Mul(normal, in[1]), in[2]);
      },
      {{13, 77}, {77}, {77}});
}

TEST(FusedOpTest, RmsNorm) {
  ExpectSameMaths([](const Inputs& in) { return RmsNorm(in[0], in[1], 1e-3); },
                  [](const Inputs& in) {
                    const Variable square = RowMean(Mul(in[0], in[0]));
                    const Variable epsilon = Constant(1e-3, in[0].dtype());
                    return Mul(Div(in[0], Sqrt(Add(square, epsilon))), in[1]);
                  },
                  {{13, 77}, {77}});
}

// Sums of squares would lose all digits here.
TEST(FusedOpTest, LayerNormOfAnOffsetKeepsItsDigits) {
  const std::vector<Tensor> inputs = {
      FromVector<float>({4097, 4098, 4099, 4100}, {1, 4}),
      FromVector<float>({1, 1, 1, 1}, {4}), Zeros({4}, DType::kF32)};
  const Variable y = LayerNorm(Variable(inputs[0]), Variable(inputs[1]),
                               Variable(inputs[2]), 0);
  const double s = std::sqrt(1.25);
  EXPECT_THAT(
      y.value(),
      IsNear(FromVector<double>({-1.5 / s, -0.5 / s, 0.5 / s, 1.5 / s}, {1, 4}),
             1e-6));
}

TEST(FusedOpTest, Swiglu) {
  ExpectSameMaths([](const Inputs& in) { return Swiglu(in[0]); },
                  [](const Inputs& in) {
                    const Variable gate = Slice(in[0], -1, 0, 35);
                    const Variable up = Slice(in[0], -1, 35, 70);
                    return Mul(Silu(gate), up);
                  },
                  {{3, 5, 70}});
}

TEST(FusedOpTest, GeluTanh) {
  ExpectSameMaths([](const Inputs& in) { return GeluTanh(in[0]); },
                  [](const Inputs& in) {
                    const Variable& x = in[0];
                    const Variable cube = Mul(Mul(x, x), x);
                    const Variable u = Scale(Add(x, Scale(cube, 0.044715)),
                                             std::sqrt(2 / M_PI));
                    const Variable one = Constant(1, x.dtype());
                    return Scale(Mul(x, Add(Tanh(u), one)), 0.5);
                  },
                  {{500}});
}

// Rows of the identity, chosen by targets; zeros for negative ones.
Tensor OneHot(const Tensor& targets, int64_t classes, DType dtype) {
  Tensor y = Zeros({targets.numel(), classes}, DType::kF64);
  for (int64_t r = 0; r < targets.numel(); ++r) {
    const int32_t target = targets.data<int32_t>()[r];
    if (target >= 0) y.data<double>()[r * classes + target] = 1;
  }
  return Cast(y, dtype);
}

TEST(FusedOpTest, CrossEntropy) {
  const Tensor targets = RandomIds({13}, 77, 1);
  ExpectSameMaths(
      [&](const Inputs& in) { return CrossEntropy(in[0], targets); },
      [&](const Inputs& in) {
        const Variable& x = in[0];
        const Variable picked =
            Sum(Mul(x, Variable(OneHot(targets, 77, x.dtype()))), -1);
        return Sub(Log(Sum(Exp(x), -1)), picked);
      },
      {{13, 77}});
}

TEST(FusedOpTest, LinearCrossEntropy) {
  Tensor targets = RandomIds({150}, 77, 1);
  targets.data<int32_t>()[3] = -1;
  for (int64_t chunk_logits : {1, 100 * 77, 0}) {
    SCOPED_TRACE(chunk_logits);
    ExpectSameMaths(
        [&](const Inputs& in) {
          return LinearCrossEntropy(in[0], in[1], targets, chunk_logits);
        },
        [&](const Inputs& in) {
          return Sum(CrossEntropy(Linear(in[0], in[1]), targets));
        },
        {{150, 13}, {77, 13}});
  }
}

TEST(LinearCrossEntropyTest, NeedsNoMemoryForAllLogits) {
  const int64_t rows = 1024, vocab = 2048, chunk = 64;
  const Variable x(RandomNormal({rows, 8}, 1), true);
  const Variable weight(RandomNormal({vocab, 8}, 2), true);
  const Tensor targets = RandomIds({rows}, vocab, 3);
  Allocator& allocator = AllocatorFor(Device::Cpu());
  const int64_t before = allocator.stats().live_bytes;
  allocator.ResetPeak();
  Backward(LinearCrossEntropy(x, weight, targets, chunk * vocab));
  EXPECT_LT(allocator.stats().peak_bytes - before, 4 * rows * vocab / 4);
}

// Wherever the heads lie, the bits are the same.
TEST(SelfAttentionTest, PackedIsAttentionOfTheParts) {
  for (const int64_t length : {1, 63, 64, 65, 130, 257}) {
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF64}) {
      SCOPED_TRACE(::testing::Message() << length << " " << dtype);
      const Tensor qkv = RandomNormal({2, length, 8, 16}, 1, dtype);
      const auto packed = ForwardBackward(
          [](const Inputs& in) { return SelfAttention(in[0], 4, 2); }, {qkv});
      const auto parts = ForwardBackward(
          [](const Inputs& in) {
            return Attention(Slice(in[0], 2, 0, 4), Slice(in[0], 2, 4, 6),
                             Slice(in[0], 2, 6, 8));
          },
          {qkv});
      EXPECT_THAT(packed.value, HasBitsOf(parts.value));
      EXPECT_THAT(packed.gradients[0], HasBitsOf(parts.gradients[0]));
    }
  }
}

TEST(CrossEntropyTest, GradientIsSoftmaxMinusOneHot) {
  const Tensor targets = RandomIds({6}, 11, 1);
  const Tensor logits = RandomNormal({6, 11}, 1);
  Tensor ones = Empty({6}, DType::kF64);
  kernels::fill(&ones, 1);
  const Differentiated got = ForwardBackward(
      [&](const Inputs& in) { return CrossEntropy(in[0], targets); }, {logits},
      ones);
  const Tensor wanted =
      Sub(Softmax(Variable(logits)), Variable(OneHot(targets, 11, DType::kF64)))
          .value();
  EXPECT_THAT(got.gradients[0], IsNear(wanted, 1e-14));
}

TEST(CrossEntropyTest, IgnoredTargetsCountForNothing) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor logits = RandomNormal({3, 5}, 1, DType::kF32);
  logits.data<float>()[5] = nan;  // In the ignored row.
  const Tensor targets = FromVector<int32_t>({2, -1, 4}, {3});
  const Differentiated got = ForwardBackward(
      [&](const Inputs& in) { return CrossEntropy(in[0], targets); }, {logits});
  EXPECT_EQ(got.value.data<float>()[1], 0);
  EXPECT_THAT(ToVector<float>(got.gradients[0].Rows(1, 2)), Each(0));
  for (int64_t row : {0, 2}) {
    EXPECT_GT(got.value.data<float>()[row], 0);
    EXPECT_THAT(ToVector<float>(got.gradients[0].Rows(row, row + 1)),
                ::testing::Not(::testing::Contains(0)));
  }
}

TEST(CrossEntropyTest, LargeLogitsNeitherOverflowNorVanish) {
  const Tensor logits = FromVector<float>({3e4f, 0, -3e4f}, {1, 3});
  const auto loss = [&](int32_t target) {
    return *CrossEntropy(Variable(logits), FromVector<int32_t>({target}, {1}))
                .value()
                .data<float>();
  };
  EXPECT_EQ(loss(0), 0);
  EXPECT_EQ(loss(1), 3e4f);
  EXPECT_EQ(loss(2), 6e4f);
}

TEST(CrossEntropyDeathTest, TargetsBeyondTheVocabulary) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const Variable logits(Zeros({1, 3}, DType::kF32));
  EXPECT_DEATH(CrossEntropy(logits, FromVector<int32_t>({3}, {1})),
               "cross_entropy: target of row 0");
}

struct MaskCase {
  const char* name;
  int64_t keys = 0, window = 0;
  bool documents = false;
};

class AttentionTest : public ::testing::TestWithParam<MaskCase> {};

// Several strips of queries, grouped heads, and S = 150 stored keys.
TEST_P(AttentionTest, IsPatternTimesValues) {
  const MaskCase& c = GetParam();
  AttentionMask mask{.keys = c.keys, .window = c.window};
  if (c.documents) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 2 * 150; ++i) ids.push_back(i / 41);
    mask.documents = FromVector(ids, {2, 150});
  }
  const int64_t queries = c.keys == 0 ? 150 : 71;
  ExpectSameMaths(
      [&](const Inputs& in) { return Attention(in[0], in[1], in[2], mask); },
      [&](const Inputs& in) {
        return AttendWith(AttentionPattern(in[0], in[1], mask), in[2]);
      },
      {{2, queries, 4, 8}, {2, 150, 2, 8}, {2, 150, 2, 8}});
}

INSTANTIATE_TEST_SUITE_P(Masks, AttentionTest,
                         ::testing::Values(MaskCase{"causal"},
                                           MaskCase{"window", 0, 5},
                                           MaskCase{"wide_window", 0, 100},
                                           MaskCase{"keys", 140},
                                           MaskCase{"documents", 0, 0, true},
                                           MaskCase{"all", 140, 30, true}),
                         [](const auto& info) { return info.param.name; });

TEST(AttentionPatternTest, RowsAreDistributionsOverWhatMayBeSeen) {
  const Variable q(RandomNormal({1, 4, 1, 8}, 1)),
      k(RandomNormal({1, 6, 1, 8}, 2));
  // Five valid keys: the queries stand at positions 1 to 4.
  const AttentionMask mask{
      .keys = 5,
      .window = 3,
      .documents = FromVector<int32_t>({0, 1, 1, 1, 1, 1}, {1, 6})};
  const std::vector<double> p = ToDoubles(AttentionPattern(q, k, mask).value());
  const int seen[4][6] = {{0, 1, 0, 0, 0, 0},
                          {0, 1, 1, 0, 0, 0},
                          {0, 1, 1, 1, 0, 0},
                          {0, 0, 1, 1, 1, 0}};
  for (int t = 0; t < 4; ++t) {
    double sum = 0;
    for (int s = 0; s < 6; ++s) {
      EXPECT_EQ(p[t * 6 + s] > 0, seen[t][s] == 1) << t << ", " << s;
      sum += p[t * 6 + s];
    }
    EXPECT_NEAR(sum, 1, 1e-14);
  }
}

// Whatever lies after a position, not a bit of its result changes.
TEST(AttentionReachTest, LaterTokensDoNotMatter) {
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    std::vector<Variable> before, after;
    for (uint64_t seed : {1, 2, 3}) {
      const Tensor x = RandomNormal({1, 150, 2, 8}, seed, DType::kF32);
      Tensor y = Clone(x);
      Tensor rest = y.View(100 * 16, {50 * 16});
      kernels::normal(&rest, {.seed = seed, .site = 9}, 30);
      before.emplace_back(Cast(x, dtype));
      after.emplace_back(Cast(y, dtype));
    }
    const Tensor a = Attention(before[0], before[1], before[2]).value();
    const Tensor b = Attention(after[0], after[1], after[2]).value();
    EXPECT_THAT(a.View(0, {100, 16}), HasBitsOf(b.View(0, {100, 16})));
  }
}

// Keys that are not valid yet may be uninitialised memory.
TEST(AttentionReachTest, InvalidKeysAreNotRead) {
  std::vector<Tensor> inputs = {RandomNormal({1, 3, 2, 8}, 1, DType::kF32)};
  for (uint64_t seed : {2, 3}) {
    inputs.push_back(RandomNormal({1, 9, 2, 8}, seed, DType::kF32));
    Tensor invalid = inputs.back().View(7 * 16, {2 * 16});
    kernels::fill(&invalid, std::numeric_limits<double>::quiet_NaN());
  }
  const Differentiated got = ForwardBackward(
      [](const Inputs& in) {
        return Attention(in[0], in[1], in[2], {.keys = 7});
      },
      inputs);
  for (const Tensor& x :
       {got.value, got.gradients[0], got.gradients[1], got.gradients[2]}) {
    for (double value : ToDoubles(x)) EXPECT_TRUE(std::isfinite(value));
  }
  for (int i : {1, 2}) {
    EXPECT_THAT(ToDoubles(got.gradients[i].View(7 * 16, {2 * 16})), Each(0));
  }
}

TEST(AttentionMemoryTest, NoMatrixOfAllPairsExists) {
  const int64_t length = 1024;
  const Shape shape = {1, length, 1, 4};
  Allocator& allocator = AllocatorFor(Device::Cpu());
  std::vector<Tensor> inputs;
  for (uint64_t seed : {1, 2, 3}) {
    inputs.push_back(RandomNormal(shape, seed, DType::kF32));
  }
  const int64_t before = allocator.stats().live_bytes;
  allocator.ResetPeak();
  ForwardBackward(
      [](const Inputs& in) { return Attention(in[0], in[1], in[2]); }, inputs);
  EXPECT_LT(allocator.stats().peak_bytes - before,
            length * length * static_cast<int64_t>(sizeof(float)) / 8);
}

}  // namespace
}  // namespace nextword

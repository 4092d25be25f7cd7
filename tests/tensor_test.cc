// Shapes, dtypes and tensors as values.
#include "autograd/tensor/tensor.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <sstream>
#include <vector>

#include "autograd/tensor/shape.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

using ::testing::ElementsAre;

TEST(ShapeTest, CountsElements) {
  EXPECT_EQ(Shape().numel(), 1);
  EXPECT_EQ(Shape().rank(), 0);
  EXPECT_EQ(Shape({2, 3, 4}).numel(), 24);
  EXPECT_EQ(Shape({2, 0, 4}).numel(), 0);
  EXPECT_EQ(Shape({2, 3, 4}).NumelBefore(1), 2);
  EXPECT_EQ(Shape({2, 3, 4}).NumelAfter(1), 4);
  EXPECT_EQ(Shape({2, 3, 4}).NumelBefore(-1), 6);
  EXPECT_EQ(Shape({5}).NumelAfter(0), 1);
}

TEST(ShapeTest, AxesCountFromBothEnds) {
  const Shape shape = {2, 3, 4};
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(shape[-1], 4);
  EXPECT_EQ(shape.Axis(-3), 0);
  EXPECT_EQ(shape.With(-2, 7), Shape({2, 7, 4}));
  EXPECT_EQ(shape.Without(-1), Shape({2, 3}));
  EXPECT_EQ(Shape({5}).Without(0), Shape());
  EXPECT_NE(Shape({2, 3}), Shape({3, 2}));
  EXPECT_NE(Shape({1}), Shape());
}

TEST(ShapeTest, Broadcasts) {
  EXPECT_EQ(BroadcastShape("op", {2, 1, 3}, {4, 1}), Shape({2, 4, 3}));
  EXPECT_EQ(BroadcastShape("op", {}, {2}), Shape({2}));
  EXPECT_EQ(BroadcastShape("op", {0}, {1}), Shape({0}));
  EXPECT_EQ(BroadcastShape("op", {3, 0}, {1, 1}), Shape({3, 0}));
}

TEST(ShapeTest, Prints) {
  std::ostringstream out;
  out << Shape({2, 3}) << Shape();
  EXPECT_EQ(out.str(), "[2, 3][]");
}

TEST(ShapeDeathTest, Mistakes) {
  EXPECT_DEATH(Shape({2, -1}), R"(in shape \[2, -1\])");
  EXPECT_DEATH(Shape({2, 3})[2], R"(axis 2 of shape \[2, 3\])");
  EXPECT_DEATH(Shape({2, 3})[-3], R"(axis -3 of shape \[2, 3\])");
  EXPECT_DEATH(BroadcastShape("add", {2}, {3}),
               R"(add: shapes \[2\] and \[3\] do not broadcast)");
  EXPECT_DEATH(BroadcastShape("add", {0}, {2}), "do not broadcast");
  EXPECT_DEATH(Shape({int64_t{1} << 40, int64_t{1} << 40}).numel(),
               "more elements than 64 bits count");
}

TEST(DTypeTest, NamesAndSizes) {
  EXPECT_STREQ(DTypeName(DType::kBF16), "bf16");
  EXPECT_STREQ(DTypeName(DType::kF32), "f32");
  EXPECT_STREQ(DTypeName(DType::kF64), "f64");
  EXPECT_STREQ(DTypeName(DType::kI32), "i32");
  EXPECT_EQ(DTypeSize(DType::kBF16), 2u);
  EXPECT_EQ(DTypeSize(DType::kI32), 4u);
  EXPECT_EQ(DTypeSize(DType::kF64), 8u);
}

uint16_t Bits(float value) { return BFloat16(value).bits; }

TEST(BFloat16Test, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    BFloat16 x;
    x.bits = static_cast<uint16_t>(bits);
    const float value = x;
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(value))));
    } else {
      EXPECT_EQ(Bits(value), bits);
    }
  }
}

TEST(BFloat16Test, RoundsToNearestAndTiesToEven) {
  EXPECT_EQ(Bits(std::bit_cast<float>(0x3f807fffu)), 0x3f80);  // Below the tie.
  EXPECT_EQ(Bits(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // Tie, to even.
  EXPECT_EQ(Bits(std::bit_cast<float>(0x3f808001u)), 0x3f81);  // Above the tie.
  EXPECT_EQ(Bits(std::bit_cast<float>(0x3f818000u)), 0x3f82);  // Tie, to even.
  EXPECT_EQ(Bits(std::bit_cast<float>(0xbf818000u)), 0xbf82);  // Negative.
  EXPECT_EQ(Bits(std::bit_cast<float>(0x3fffffffu)), 0x4000);  // Carries over.
}

TEST(BFloat16Test, EndsOfTheRange) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(static_cast<float>(BFloat16(kInf)), kInf);
  EXPECT_EQ(static_cast<float>(BFloat16(-kInf)), -kInf);
  EXPECT_EQ(static_cast<float>(BFloat16(std::numeric_limits<float>::max())),
            kInf);
  EXPECT_EQ(Bits(-0.0f), 0x8000);
  EXPECT_EQ(Bits(std::bit_cast<float>(0x00000001u)), 0);  // Denormal.
  // NaN stays NaN even where all of its bits lie in the lower half.
  for (uint32_t bits : {0x7f800001u, 0xff800001u, 0x7fc00000u, 0x7fffffffu}) {
    EXPECT_TRUE(
        std::isnan(static_cast<float>(BFloat16(std::bit_cast<float>(bits)))));
  }
}

TEST(TensorTest, CopiesShareElements) {
  const Tensor x = FromVector<float>({1, 2, 3}, {3});
  const Tensor y = x;
  y.data<float>()[1] = 7;
  EXPECT_THAT(ToVector<float>(x), ElementsAre(1, 7, 3));
  EXPECT_TRUE(x.SharesStorageWith(y));
}

TEST(TensorTest, Views) {
  const Tensor x = FromVector<int32_t>({0, 1, 2, 3, 4, 5}, {3, 2});
  const Tensor rows = x.Rows(1, 3);
  EXPECT_EQ(rows.shape(), Shape({2, 2}));
  EXPECT_THAT(ToVector<int32_t>(rows), ElementsAre(2, 3, 4, 5));
  EXPECT_THAT(ToVector<int32_t>(rows.Rows(1, 2)), ElementsAre(4, 5));
  EXPECT_EQ(x.Rows(3, 3).numel(), 0);
  EXPECT_THAT(ToVector<int32_t>(rows.View(1, {3})), ElementsAre(3, 4, 5));
  EXPECT_THAT(ToVector<int32_t>(x.View(4, Shape())), ElementsAre(4));
  EXPECT_THAT(ToVector<int32_t>(x.Reshape({2, 3}).Rows(1, 2)),
              ElementsAre(3, 4, 5));
  rows.data<int32_t>()[0] = 9;
  EXPECT_THAT(ToVector<int32_t>(x), ElementsAre(0, 1, 9, 3, 4, 5));
}

TEST(TensorTest, AViewKeepsTheElementsAlive) {
  Tensor view;
  { view = FromVector<double>({1, 2, 3, 4}, {4}).Rows(2, 4); }
  EXPECT_THAT(ToVector<double>(view), ElementsAre(3, 4));
}

TEST(TensorTest, DefinedAndAllocated) {
  EXPECT_FALSE(Tensor().defined());
  const Tensor declared = Tensor::Declared({1 << 20, 1 << 20}, DType::kF32);
  EXPECT_TRUE(declared.defined());
  EXPECT_FALSE(declared.allocated());
  EXPECT_EQ(declared.size_bytes(), int64_t{4} << 40);
  const Tensor empty = Empty({0, 3}, DType::kBF16);
  EXPECT_TRUE(empty.allocated());
  EXPECT_EQ(empty.numel(), 0);
  EXPECT_NE(empty.raw_data(), nullptr);
}

TEST(TensorTest, Prints) {
  std::ostringstream out;
  out << Empty({2, 3}, DType::kBF16) << " " << Tensor();
  EXPECT_EQ(out.str(), "bf16[2, 3] (no tensor)");
}

TEST(TensorDeathTest, Mistakes) {
  const Tensor x = FromVector<float>({1, 2, 3}, {3});
  EXPECT_DEATH(x.data<double>(), R"(f32\[3\] read as f64)");
  EXPECT_DEATH(x.Reshape({2, 2}), R"(reshape of f32\[3\] to \[2, 2\])");
  EXPECT_DEATH(x.Rows(1, 4), R"(rows \[1, 4\) of f32\[3\])");
  EXPECT_DEATH(x.View(2, {2}), R"(view of \[2\] at 2 in f32\[3\])");
  EXPECT_DEATH(x.View(-1, {2}), R"(view of \[2\] at -1)");
  EXPECT_DEATH(FromVector<float>({1, 2}, {3}), R"(values for shape \[3\])");
  EXPECT_DEATH(Tensor::Declared({2}, DType::kF32).raw_data(),
               R"(elements of f32\[2\], which has no memory)");
}

}  // namespace
}  // namespace nextword

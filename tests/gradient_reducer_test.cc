// The sum over lanes follows its tree bit for bit.
#include "distributed/gradient_reducer.h"

#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"
#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduction.h"
#include "autograd/tensor/allocator.h"
#include "tests/testing.h"
#include "tests/testing_world.h"

namespace nextword {
namespace {

using ::testing::Not;

constexpr int64_t kSize = 1037;

// Numbers of such different sizes that every order of adding them gives other
// bits.
Tensor GradientOfLane(int lane) {
  Tensor gradient = Cast(RandomNormal({kSize}, 50 + lane), DType::kF32);
  float* const values = gradient.data<float>();
  for (int64_t i = 0; i < kSize; ++i) {
    values[i] *= static_cast<float>(1 + (i * 7 + lane * 13) % 1000) / 3.0f;
  }
  return gradient;
}

LossSum LossOfLane(int lane) { return {1.0 / (lane + 3), 10 + lane}; }

struct LaneTotal {
  Tensor gradient;
  double nats;
};

LaneTotal AddTotals(const LaneTotal& left, const LaneTotal& right) {
  LaneTotal sum{EmptyLike(left.gradient), left.nats + right.nats};
  kernels::add(left.gradient, right.gradient, &sum.gradient);
  return sum;
}

// The tree as its definition has it: halves first.
LaneTotal SumOfTree(int begin, int end) {
  if (end - begin == 1) {
    return {GradientOfLane(begin), LossOfLane(begin).nats};
  }
  const int middle = (begin + end) / 2;
  return AddTotals(SumOfTree(begin, middle), SumOfTree(middle, end));
}

std::unique_ptr<Parameters> MakeParameters() {
  return std::make_unique<Parameters>(
      std::vector<NamedVariable>{
          {"w", Variable(Tensor::Declared({kSize}, DType::kF32), true)}},
      DType::kF32, Device::Cpu());
}

// What `reducer` makes of the lanes of one step; the gradients hold the sum.
LossSum Reduce(int lanes, Parameters* parameters, GradientReducer* reducer) {
  for (int lane = 0; lane < lanes; ++lane) {
    Tensor gradients = parameters->gradients();
    kernels::accumulate(GradientOfLane(lane), &gradients);
    reducer->FinishLane(LossOfLane(lane));
  }
  return *reducer->Finish();
}

TEST(GradientReducerTest, SumIsThatOfTheTree) {
  for (const int lanes : {1, 2, 4, 8, 16}) {
    const auto parameters = MakeParameters();
    GradientReducer reducer({.lanes = lanes}, parameters.get(), Alone());
    // A second step starts from nothing again.
    for (int step = 0; step < 2; ++step) {
      parameters->ZeroGradients();
      const LossSum loss = Reduce(lanes, parameters.get(), &reducer);
      const LaneTotal wanted = SumOfTree(0, lanes);
      EXPECT_THAT(parameters->gradients(), HasBitsOf(wanted.gradient)) << lanes;
      EXPECT_EQ(loss.nats, wanted.nats) << lanes;
      EXPECT_EQ(loss.tokens, 10 * lanes + lanes * (lanes - 1) / 2);
    }
  }
}

TEST(GradientReducerTest, AnotherOrderWouldGiveOtherBits) {
  LaneTotal sequential = SumOfTree(0, 1);
  for (int lane = 1; lane < 8; ++lane) {
    sequential = AddTotals(sequential, SumOfTree(lane, lane + 1));
  }
  EXPECT_THAT(sequential.gradient, Not(HasBitsOf(SumOfTree(0, 8).gradient)));
  EXPECT_THAT(sequential.gradient, IsNear(SumOfTree(0, 8).gradient, 1e-5));
}

// A rank that holds lanes 4 to 7 of 8 makes the right half of the tree.
TEST(GradientReducerTest, ASubtreeIsPartOfTheSameSum) {
  const auto parameters = MakeParameters();
  GradientReducer reducer({.lanes = 4}, parameters.get(), Alone());
  for (int lane = 4; lane < 8; ++lane) {
    Tensor gradients = parameters->gradients();
    kernels::accumulate(GradientOfLane(lane), &gradients);
    reducer.FinishLane(LossOfLane(lane));
  }
  const LossSum loss = *reducer.Finish();
  const LaneTotal right = SumOfTree(4, 8);
  EXPECT_THAT(parameters->gradients(), HasBitsOf(right.gradient));
  EXPECT_EQ(loss.nats, right.nats);
}

// A model of leaves of several sizes, some of them larger than a bucket, whose
// gradients in a lane are those of GradientOfLane, in two micro-batches.
class Ranks : public testing::TestWithParam<int> {
 protected:
  static constexpr int kLanes = 8;
  static constexpr int64_t kLeaves[] = {5, 3 * kPieceUnit, 1, 100,
                                        2 * kPieceUnit + 77};

  static int64_t LeafSum() {
    return std::accumulate(std::begin(kLeaves), std::end(kLeaves), int64_t{0});
  }

  static Tensor Gradient(int lane, int half) {
    Tensor gradient =
        Cast(RandomNormal({LeafSum()}, 100 + 2 * lane + half), DType::kF32);
    kernels::scale(gradient, 1 + 97.0 * lane / 3, &gradient);
    return gradient;
  }

  // One step of a rank. Leaf 2 is not used.
  static Tensor Step(Communicator* communicator, GradientReducer::Options how,
                     LossSum* loss) {
    std::vector<NamedVariable> leaves;
    for (int64_t size : kLeaves) {
      leaves.push_back({absl::StrCat("w", leaves.size()),
                        Variable(Tensor::Declared({size}, DType::kF32), true)});
    }
    Parameters parameters(leaves, DType::kF32, Device::Cpu());
    Tensor values = parameters.values();
    kernels::fill(&values, 1.0);
    how.lanes = kLanes;
    GradientReducer reducer(how, &parameters, communicator);
    for (int i = 0; i < reducer.lanes(); ++i) {
      const int lane = reducer.LaneOf(i);
      for (int half = 0; half < 2; ++half) {
        const Tensor gradient = Gradient(lane, half);
        if (half == 1) reducer.BeforeLastBackward();
        Variable sum;
        for (const Parameters::Entry& entry : parameters.entries()) {
          if (entry.name == "w2") continue;
          const Variable part =
              Sum(Mul(entry.variable,
                      Variable(gradient.View(entry.offset, entry.shape()))));
          sum = sum.defined() ? Add(sum, part) : part;
        }
        Backward(sum);
      }
      reducer.FinishLane(LossOfLane(lane));
    }
    *loss = *reducer.Finish();
    if (how.result != ReducedGradients::kWhole) {
      NW_CHECK_OK(reducer.AllGather(parameters.gradients()));
    }
    return Clone(parameters.gradients());
  }
};

TEST_P(Ranks, GiveTheBitsOfOne) {
  LossSum wanted_loss;
  const Tensor wanted = Step(Alone(), {}, &wanted_loss);
  for (const auto result : {ReducedGradients::kWhole, ReducedGradients::kPieces,
                            ReducedGradients::kPiecesOnly}) {
    for (const int64_t bucket :
         {kPieceUnit, 2 * kPieceUnit, int64_t{1} << 24}) {
      InWorld(GetParam(), [&](Communicator* communicator) {
        LossSum loss;
        const Tensor gradients = Step(
            communicator, {.bucket_elements = bucket, .result = result}, &loss);
        EXPECT_THAT(gradients, HasBitsOf(wanted))
            << bucket << " " << static_cast<int>(result);
        EXPECT_EQ(loss.nats, wanted_loss.nats);
        EXPECT_EQ(loss.tokens, wanted_loss.tokens);
      });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, Ranks, testing::Values(1, 2, 4, 8));

TEST(GradientReducerTest, BuffersAreCounted) {
  for (const int lanes : {1, 2, 4, 8, 16}) {
    const auto parameters = MakeParameters();
    GradientReducer reducer({.lanes = lanes}, parameters.get(), Alone());
    Allocator& allocator = AllocatorFor(Device::Cpu());
    // Made ahead, for the count is of the reducer's memory.
    std::vector<Tensor> gradients_of_lanes;
    for (int lane = 0; lane < lanes; ++lane) {
      gradients_of_lanes.push_back(GradientOfLane(lane));
    }
    const int64_t before = allocator.stats().live_bytes;
    allocator.ResetPeak();
    for (int lane = 0; lane < lanes; ++lane) {
      Tensor gradients = parameters->gradients();
      kernels::accumulate(gradients_of_lanes[lane], &gradients);
      reducer.FinishLane(LossOfLane(lane));
    }
    ASSERT_TRUE(reducer.Finish().ok());
    // The parameters' own buffer was there before.
    const int64_t added = allocator.stats().peak_bytes - before;
    // And a few bytes for the losses.
    EXPECT_NEAR(
        added,
        (GradientReducer::Buffers(lanes) - 1) * kSize * int64_t{sizeof(float)},
        64)
        << lanes;
    EXPECT_EQ(allocator.stats().live_bytes, before);
  }
  EXPECT_EQ(GradientReducer::Buffers(1), 1);
  EXPECT_EQ(GradientReducer::Buffers(2), 2);
  EXPECT_EQ(GradientReducer::Buffers(4), 3);
  EXPECT_EQ(GradientReducer::Buffers(8), 4);
}

}  // namespace
}  // namespace nextword

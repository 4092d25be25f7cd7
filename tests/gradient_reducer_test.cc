// The sum over lanes follows its tree bit for bit.
#include "distributed/gradient_reducer.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/kernels/kernels.h"
#include "autograd/tensor/allocator.h"
#include "tests/testing.h"

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

struct Sum {
  Tensor gradient;
  double nats;
};

Sum Add(const Sum& left, const Sum& right) {
  Sum sum{EmptyLike(left.gradient), left.nats + right.nats};
  kernels::add(left.gradient, right.gradient, &sum.gradient);
  return sum;
}

// The tree as its definition has it: halves first.
Sum SumOfTree(int begin, int end) {
  if (end - begin == 1) {
    return {GradientOfLane(begin), LossOfLane(begin).nats};
  }
  const int middle = (begin + end) / 2;
  return Add(SumOfTree(begin, middle), SumOfTree(middle, end));
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
    reducer->FinishLane(LossOfLane(lane), lanes);
  }
  return reducer->Finish();
}

TEST(GradientReducerTest, SumIsThatOfTheTree) {
  for (const int lanes : {1, 2, 4, 8, 16}) {
    const auto parameters = MakeParameters();
    GradientReducer reducer(parameters.get());
    // A second step starts from nothing again.
    for (int step = 0; step < 2; ++step) {
      parameters->ZeroGradients();
      const LossSum loss = Reduce(lanes, parameters.get(), &reducer);
      const Sum wanted = SumOfTree(0, lanes);
      EXPECT_THAT(parameters->gradients(), HasBitsOf(wanted.gradient)) << lanes;
      EXPECT_EQ(loss.nats, wanted.nats) << lanes;
      EXPECT_EQ(loss.tokens, 10 * lanes + lanes * (lanes - 1) / 2);
    }
  }
}

TEST(GradientReducerTest, AnotherOrderWouldGiveOtherBits) {
  Sum sequential = SumOfTree(0, 1);
  for (int lane = 1; lane < 8; ++lane) {
    sequential = Add(sequential, SumOfTree(lane, lane + 1));
  }
  EXPECT_THAT(sequential.gradient, Not(HasBitsOf(SumOfTree(0, 8).gradient)));
  EXPECT_THAT(sequential.gradient, IsNear(SumOfTree(0, 8).gradient, 1e-5));
}

// A rank that holds lanes 4 to 7 of 8 makes the right half of the tree.
TEST(GradientReducerTest, ASubtreeIsPartOfTheSameSum) {
  const auto parameters = MakeParameters();
  GradientReducer reducer(parameters.get());
  for (int lane = 4; lane < 8; ++lane) {
    Tensor gradients = parameters->gradients();
    kernels::accumulate(GradientOfLane(lane), &gradients);
    reducer.FinishLane(LossOfLane(lane), 4);
  }
  const LossSum loss = reducer.Finish();
  const Sum right = SumOfTree(4, 8);
  EXPECT_THAT(parameters->gradients(), HasBitsOf(right.gradient));
  EXPECT_EQ(loss.nats, right.nats);
}

TEST(GradientReducerTest, BuffersAreCounted) {
  for (const int lanes : {1, 2, 4, 8, 16}) {
    const auto parameters = MakeParameters();
    GradientReducer reducer(parameters.get());
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
      reducer.FinishLane(LossOfLane(lane), lanes);
    }
    reducer.Finish();
    // The parameters' own buffer was there before.
    const int64_t added = allocator.stats().peak_bytes - before;
    EXPECT_EQ(added, (GradientReducer::Buffers(lanes) - 1) * kSize *
                         int64_t{sizeof(float)})
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

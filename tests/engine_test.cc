// The engine: what gradients are, when they are complete, what is freed.
#include "autograd/engine.h"

#include <functional>
#include <string>
#include <vector>

#include "autograd/base/trace.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/layout.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/reduction.h"
#include "autograd/tensor/allocator.h"
#include "tests/testing.h"

namespace nextword {
namespace {

using ::testing::ElementsAre;

Variable Leaf(const std::vector<float>& values) {
  return Variable(FromVector(values, {static_cast<int64_t>(values.size())}),
                  true);
}

std::vector<float> GradientOf(const Variable& x) {
  return ToVector<float>(x.gradient());
}

int64_t LiveBytes() { return AllocatorFor(Device::Cpu()).stats().live_bytes; }

TEST(EngineTest, AVariableUsedTwiceGetsBothShares) {
  const Variable x = Leaf({3, -2});
  Backward(Mul(x, x));
  EXPECT_THAT(GradientOf(x), ElementsAre(6, -4));
}

TEST(EngineTest, ADiamondRunsEachNodeOnce) {
  const Variable x = Leaf({2});
  const Variable a = Scale(x, 3);
  int runs = 0;
  a.AddGradientHook([&](const Tensor& dy) {
    ++runs;
    return dy;
  });
  const Variable left = Mul(a, a);      // 36, slope 2 a = 12
  const Variable right = Scale(a, 10);  // slope 10
  Backward(Add(left, right));
  EXPECT_EQ(runs, 1);
  EXPECT_THAT(GradientOf(x), ElementsAre(3 * (12 + 10)));
}

TEST(EngineTest, NestedDiamondsDoNotMultiplyWork) {
  const Variable x = Leaf({1});
  Variable y = x;
  int runs = 0;
  for (int i = 0; i < 60; ++i) {
    y = Scale(Add(y, y), 0.5);
    y.AddGradientHook([&](const Tensor& dy) {
      ++runs;
      return dy;
    });
  }
  Backward(y);
  EXPECT_EQ(runs, 60);
  EXPECT_THAT(GradientOf(x), ElementsAre(1));
}

TEST(EngineTest, OnlyWhatIsAskedForGetsGradients) {
  const Variable x = Leaf({2}),
                 constant = Variable(FromVector<float>({5}, {1}));
  Backward(Mul(x, constant));
  EXPECT_THAT(GradientOf(x), ElementsAre(5));
  EXPECT_FALSE(constant.gradient().defined());
  EXPECT_FALSE(Mul(constant, constant).requires_grad());
}

TEST(EngineTest, GradientsAddUpUntilCleared) {
  Variable x = Leaf({2, 3});
  Backward(Scale(x, 10));
  Backward(Mul(x, x));
  EXPECT_THAT(GradientOf(x), ElementsAre(14, 16));
  x.ClearGradient();
  EXPECT_FALSE(x.gradient().defined());
  Backward(Scale(x, 10));
  EXPECT_THAT(GradientOf(x), ElementsAre(10, 10));
}

TEST(EngineTest, TheRootsGradientWeighsTheResult) {
  const Variable x = Leaf({2, 3});
  Backward(Mul(x, x), FromVector<float>({1, 100}, {2}));
  EXPECT_THAT(GradientOf(x), ElementsAre(4, 600));
}

TEST(EngineTest, ALeafMayBeTheRoot) {
  const Variable x = Leaf({2});
  const Tensor dy = FromVector<float>({7}, {1});
  Backward(x, dy);
  EXPECT_THAT(GradientOf(x), ElementsAre(7));
  EXPECT_FALSE(x.gradient().SharesStorageWith(dy));
}

// add hands one tensor on to both inputs.
TEST(EngineTest, GradientsOfDifferentLeavesShareNoMemory) {
  const Variable x = Leaf({1}), y = Leaf({1}), z = Leaf({1});
  Backward(Add(Add(x, x), Add(Add(x, y), Add(z, z))));
  EXPECT_THAT(GradientOf(x), ElementsAre(3));
  EXPECT_THAT(GradientOf(y), ElementsAre(1));
  EXPECT_THAT(GradientOf(z), ElementsAre(2));
  Backward(Scale(x, 10));
  EXPECT_THAT(GradientOf(x), ElementsAre(13));
  EXPECT_THAT(GradientOf(y), ElementsAre(1));
}

TEST(EngineTest, SharesAddFromTheLatestUseToTheFirst) {
  const Variable x = Leaf({1});
  const Variable first = Scale(x, 1), second = Scale(x, 1e8),
                 third = Scale(x, -1e8);
  // (-1e8 + 1e8) + 1; any other order would lose the 1.
  Backward(Add(Add(third, first), second));
  EXPECT_THAT(GradientOf(x), ElementsAre(1));
}

TEST(EngineTest, UndefinedGradientsAreZero) {
  const Variable x = Leaf({1}), y = Leaf({1});
  bool told = false;
  x.AddAccumulatedHook([&] { told = true; });
  const Variable below = Scale(x, 2);
  Backward(Record("drop", Clone(y.value()), {below, y}, [](const Tensor& dy) {
    return Gradients{Tensor(), dy};
  }));
  EXPECT_FALSE(x.gradient().defined());
  EXPECT_TRUE(told);
  EXPECT_THAT(GradientOf(y), ElementsAre(1));
}

TEST(EngineTest, DetachEndsTheGraph) {
  const Variable x = Leaf({3});
  Backward(Mul(x, Scale(x, 1).Detach()));
  EXPECT_THAT(GradientOf(x), ElementsAre(3));
}

TEST(EngineTest, DeepChainsNeedNoStack) {
  const Variable x = Leaf({1});
  Variable y = x;
  for (int i = 0; i < 1000000; ++i) y = Scale(y, 1);
  Backward(y);
  EXPECT_THAT(GradientOf(x), ElementsAre(1));
}

TEST(EngineTest, DeepGraphsAreDroppedWithoutAStack) {
  const int64_t before = LiveBytes();
  {
    Variable y = Leaf({1});
    for (int i = 0; i < 1000000; ++i) {
      y = i % 100 == 0 ? Add(y, y) : Scale(y, 1);
    }
  }
  EXPECT_EQ(LiveBytes(), before);
}

// Values saved for backward go as soon as they are used.
TEST(EngineTest, BackwardFreesAsItGoes) {
  constexpr int kOps = 50;
  const int64_t bytes = 1000 * sizeof(float);
  const int64_t before = LiveBytes();
  const Variable x(Zeros({1000}, DType::kF32), true);
  Variable y = x;
  for (int i = 0; i < kOps; ++i) y = Tanh(y);
  const int64_t recorded = LiveBytes();
  EXPECT_EQ(recorded - before, (kOps + 1) * bytes);

  std::vector<int64_t> live;
  x.AddAccumulatedHook([&] { live.push_back(LiveBytes()); });
  AllocatorFor(Device::Cpu()).ResetPeak();
  Backward(y);
  // A gradient coming in, one going out, two of tanh's own.
  EXPECT_LE(AllocatorFor(Device::Cpu()).stats().peak_bytes - recorded,
            4 * bytes);
  // x, y, the gradient of x and what arrived there.
  EXPECT_THAT(live, ElementsAre(before + 4 * bytes));
  EXPECT_EQ(LiveBytes() - before, 3 * bytes);
}

// With gradients bound to flat buffers, those of all weights never exist twice.
TEST(EngineTest, LeavesTakeTheirGradientsAtOnce) {
  constexpr int kLayers = 20;
  const int64_t bytes = 64 * 64 * sizeof(float);
  std::vector<Variable> weights;
  for (int i = 0; i < kLayers; ++i) {
    weights.emplace_back(Zeros({64, 64}, DType::kF32), true);
    weights.back().Bind(weights.back().value(), Zeros({64, 64}, DType::kF32));
  }
  Variable y(Zeros({1, 64}, DType::kF32));
  for (const Variable& weight : weights) y = Linear(y, weight);
  const int64_t recorded = LiveBytes();
  AllocatorFor(Device::Cpu()).ResetPeak();
  Backward(y);
  EXPECT_LE(AllocatorFor(Device::Cpu()).stats().peak_bytes - recorded,
            2 * bytes);
}

TEST(EngineTest, NoGradScopeRecordsNothing) {
  const Variable x = Leaf({2});
  {
    const NoGradScope no_grad;
    EXPECT_FALSE(GradEnabled());
    EXPECT_FALSE(Scale(x, 2).requires_grad());
    {
      const GradModeScope grad(true);
      EXPECT_TRUE(Scale(x, 2).requires_grad());
    }
    EXPECT_FALSE(GradEnabled());
  }
  EXPECT_TRUE(GradEnabled());
  EXPECT_TRUE(Scale(x, 2).requires_grad());
}

TEST(EngineTest, ABackwardRecordsNothing) {
  const Variable x = Leaf({2});
  const Variable y = Scale(x, 2);
  bool enabled = true;
  y.AddGradientHook([&](const Tensor& dy) {
    enabled = GradEnabled();
    return dy;
  });
  Backward(y);
  EXPECT_FALSE(enabled);
  EXPECT_TRUE(GradEnabled());
}

TEST(EngineTest, GradientHooksRunInOrderAndReplace) {
  const Variable x = Leaf({1});
  const Variable y = Scale(x, 2);
  std::vector<float> seen;
  const auto times = [&](float factor) {
    return [&seen, factor](const Tensor& dy) {
      seen.push_back(*dy.data<float>());
      Tensor result = EmptyLike(dy);
      kernels::scale(dy, factor, &result);
      return result;
    };
  };
  y.AddGradientHook(times(3));
  y.AddGradientHook(times(5));
  x.AddGradientHook(times(7));
  Backward(Add(y, y));
  // y's gradient is whole (1 + 1) before its hooks see it.
  EXPECT_THAT(seen, ElementsAre(2, 6, 60));
  EXPECT_THAT(GradientOf(x), ElementsAre(420));
}

// A layer's weight is complete before the layer below is differentiated.
TEST(EngineTest, AccumulatedHooksFireAtTheEarliestMoment) {
  std::vector<std::string> events;
  const auto note = [&](const std::string& name) {
    return [&events, name](const Tensor& dy) {
      events.push_back(name);
      return dy;
    };
  };
  std::vector<Variable> weights;
  for (int i = 0; i < 3; ++i) {
    weights.emplace_back(Zeros({2, 2}, DType::kF32), true);
    weights[i].AddAccumulatedHook(
        [&events, i] { events.push_back("weight " + std::to_string(i)); });
  }
  Variable h(Zeros({1, 2}, DType::kF32));
  for (int i = 0; i < 3; ++i) {
    h = Linear(h, weights[i]);
    h.AddGradientHook(note("output " + std::to_string(i)));
  }
  Backward(h);
  EXPECT_THAT(events, ElementsAre("output 2", "weight 2", "output 1",
                                  "weight 1", "output 0", "weight 0"));
}

TEST(EngineTest, AnAccumulatedHookSeesTheSumOfAllUses) {
  const Variable x = Leaf({1});
  std::vector<float> seen;
  x.AddAccumulatedHook([&] { seen.push_back(GradientOf(x).front()); });
  Backward(Add(Scale(Mul(x, x), 2), Scale(x, 3)));
  EXPECT_THAT(seen, ElementsAre(7));
  Backward(x);
  EXPECT_THAT(seen, ElementsAre(7, 8));
}

TEST(EngineTest, DifferentiateStopsAtItsInputs) {
  const Variable x = Leaf({2}), other = Leaf({5}), unused = Leaf({1});
  const Variable middle = Mul(x, x);
  bool told = false;
  x.AddAccumulatedHook([&] { told = true; });
  const Variable y = Mul(Mul(middle, x), other);
  const Gradients gradients = Differentiate(y, Tensor(), {middle, x, unused});
  EXPECT_THAT(ToVector<float>(gradients[0]), ElementsAre(10));
  EXPECT_THAT(ToVector<float>(gradients[1]), ElementsAre(20));
  EXPECT_FALSE(gradients[2].defined());
  EXPECT_FALSE(x.gradient().defined());
  EXPECT_FALSE(told);
  EXPECT_THAT(GradientOf(other), ElementsAre(8));
  Backward(middle);  // Its graph is still there.
  EXPECT_THAT(GradientOf(x), ElementsAre(4));
}

class EngineDeathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  }
};

TEST_F(EngineDeathTest, AGraphServesOneBackward) {
  const Variable x = Leaf({2});
  const Variable y = Mul(x, x);
  Backward(y);
  EXPECT_DEATH(Backward(y), "mul: Backward through a graph that was already");
}

TEST_F(EngineDeathTest, SharedPartsServeOneBackwardToo) {
  const Variable x = Leaf({2});
  const Variable shared = Mul(x, x);
  const Variable a = Scale(shared, 2), b = Scale(shared, 3);
  Backward(a);
  EXPECT_DEATH(Backward(b), "mul: Backward through a graph that was already");
}

TEST_F(EngineDeathTest, ARootNeedsAGraph) {
  EXPECT_DEATH(Backward(Variable(Zeros({1}, DType::kF32))),
               "Backward from a value that needs no gradient");
}

TEST_F(EngineDeathTest, ShapesOfGradientsAreChecked) {
  const Variable x = Leaf({2});
  EXPECT_DEATH(Backward(x, Zeros({3}, DType::kF32)),
               R"(gradient f32\[3\] for f32\[1\])");
  const Tensor wrong = Zeros({2, 2}, DType::kF32);
  const auto vjp = [wrong](const Tensor&) { return Gradients{wrong}; };
  EXPECT_DEATH(Backward(Record("odd", x.value(), {x}, vjp)),
               R"(odd: gradient f32\[2, 2\] for input f32\[1\])");
  EXPECT_DEATH(Backward(Record("odd", x.value(), {x, x}, vjp)),
               "odd: gradients and inputs");
  x.AddGradientHook([wrong](const Tensor&) { return wrong; });
  EXPECT_DEATH(Backward(x), R"(a hook's gradient f32\[2, 2\] for f32\[1\])");
}

// Ops whose gradients are large add them to a leaf's sum themselves.
TEST(EngineTest, ALeafWithASumGetsWhatALeafWithoutOneGets) {
  const Tensor ids = RandomIds({9}, 5, 3);
  const std::vector<std::function<Variable(const Variable&)>> uses = {
      [](const Variable& w) {
        return Matmul(Variable(RandomNormal({4, 5}, 1, DType::kF32)), w);
      },
      [](const Variable& w) {
        return Linear(Variable(RandomNormal({4, 3}, 1, DType::kF32)), w);
      },
      [&](const Variable& w) { return Embedding(w, ids); },
      [&](const Variable& w) {
        return LinearCrossEntropy(
            Variable(RandomNormal({9, 3}, 1, DType::kF32)), w, ids);
      },
  };
  for (size_t i = 0; i < uses.size(); ++i) {
    SCOPED_TRACE(i);
    const Tensor value = RandomNormal({5, 3}, 2, DType::kF32);
    const Variable free(value, true), bound(value, true);
    Variable(bound).Bind(value, Zeros({5, 3}, DType::kF32));
    Backward(uses[i](free));
    Backward(uses[i](bound));
    EXPECT_THAT(bound.gradient(), HasBitsOf(free.gradient()));
    Backward(uses[i](bound));  // Adds.
    Tensor twice = EmptyLike(value);
    kernels::scale(free.gradient(), 2, &twice);
    EXPECT_THAT(bound.gradient(), IsNear(twice, 1e-6));
  }
}

// They are added at the end, together; their hooks see all of them.
TEST(EngineTest, SmallLeavesHaveTheirSumsAtTheEnd) {
  const Tensor value = RandomNormal({5}, 1, DType::kF32);
  const Variable a(value, true), b(value, true);
  for (const Variable& leaf : {a, b}) {
    Variable(leaf).Bind(value, Zeros({5}, DType::kF32));
  }
  int called = 0;
  for (const Variable& leaf : {a, b}) {
    leaf.AddAccumulatedHook([&] {
      ++called;
      EXPECT_THAT(a.gradient(), HasBitsOf(value));
      EXPECT_THAT(b.gradient(), HasBitsOf(value));
    });
  }
  Backward(Mul(a, b));
  EXPECT_EQ(called, 2);
}

// A hook is to see the whole gradient before it is added.
TEST(EngineTest, AHookKeepsTheSumClosed) {
  const Tensor value = RandomNormal({5, 3}, 2, DType::kF32);
  const Variable w(value, true);
  Variable(w).Bind(value, Zeros({5, 3}, DType::kF32));
  w.AddGradientHook([](const Tensor& dy) { return ZerosLike(dy); });
  Backward(Linear(Variable(RandomNormal({4, 3}, 1, DType::kF32)), w));
  EXPECT_THAT(w.gradient(), HasBitsOf(Zeros({5, 3}, DType::kF32)));
}

// Nothing is computed for inputs that need no gradient.
TEST(EngineTest, VjpsKnowWhatIsWanted) {
  const Variable x = Leaf({1}), constant(FromVector<float>({2}, {1}));
  Vjp::Uses seen;
  const Variable y = Record("test", x.value(), {constant, x},
                            [&](const Tensor& dy, const Vjp::Uses& uses) {
                              seen = uses;
                              return Gradients{Tensor(), dy};
                            });
  Backward(y);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_FALSE(seen[0].wanted);
  EXPECT_TRUE(seen[1].wanted);
}

// An op that asks for the gradient that its input has so far, and leaves it.
Variable AskingForPartial(const Variable& x, Tensor* partial) {
  return Record("asking", Clone(x.value()), {x},
                [partial](const Tensor& dy, const Vjp::Uses& uses) {
                  *partial = uses[0].partial;
                  return Gradients{dy};
                });
}

TEST(EngineTest, WhatNobodyElseHoldsMayBeAddedTo) {
  const Variable x = Leaf({1});
  const Variable middle = Scale(x, 1);
  Tensor first, last;
  const Variable early = AskingForPartial(middle, &last);
  const Variable late = Scale(AskingForPartial(middle, &first), 10);
  Backward(Add(Scale(early, 2), late));
  EXPECT_FALSE(first.defined());  // Nothing has come yet.
  ASSERT_TRUE(last.defined());
  EXPECT_THAT(GradientOf(x), ElementsAre(12));
}

// An op that gives the gradient of its input rounded, too, where that is
// wanted.
Variable Rounding(const Variable& x, bool* wanted) {
  return Record("rounding", Clone(x.value()), {x},
                [wanted](const Tensor& dy, const Vjp::Uses& uses) {
                  *wanted = uses[0].rounded != nullptr;
                  Tensor all = dy;
                  if (uses[0].partial.defined()) {
                    all = uses[0].partial;
                    kernels::accumulate(dy, &all);
                  }
                  if (*wanted) *uses[0].rounded = Cast(all, DType::kBF16);
                  return Gradients{uses[0].partial.defined() ? Tensor() : dy};
                });
}

// An op that notes what it gets rounded.
Variable ReadingRounded(const Variable& x, Tensor* rounded) {
  const Variable y = Record("reading", Clone(x.value()), {x},
                            [rounded](const Tensor& dy, const Vjp::Uses& uses) {
                              *rounded = uses.rounded_dy;
                              return Gradients{dy};
                            });
  ReadsRoundedGradient(y);
  return y;
}

TEST(EngineTest, WhoCompletesAGradientMayRoundIt) {
  const Variable x = Leaf({1});
  Tensor rounded;
  bool wanted = false;
  Backward(Scale(Rounding(ReadingRounded(x, &rounded), &wanted), 3));
  EXPECT_TRUE(wanted);
  EXPECT_THAT(ToVector<float>(Cast(rounded, DType::kF32)), ElementsAre(3));
  // Nobody reads it.
  Backward(Rounding(Scale(x, 1), &wanted));
  EXPECT_FALSE(wanted);
  // Somebody is to see it first.
  const Variable seen = ReadingRounded(x, &rounded);
  seen.AddGradientHook([](const Tensor& dy) { return dy; });
  Backward(Rounding(seen, &wanted));
  EXPECT_FALSE(wanted);
  EXPECT_FALSE(rounded.defined());
}

TEST(EngineTest, APartOfAGradientIsNotRounded) {
  const Variable x = Leaf({1});
  Tensor rounded;
  const Variable middle = ReadingRounded(x, &rounded);
  bool first = false, last = false;
  const Variable early = Rounding(middle, &last);  // The last in Backward.
  const Variable late = Scale(Rounding(middle, &first), 10);
  Backward(Add(Scale(early, 2), late));
  EXPECT_FALSE(first);
  EXPECT_TRUE(last);
  EXPECT_THAT(ToVector<float>(Cast(rounded, DType::kF32)), ElementsAre(12));
  EXPECT_THAT(GradientOf(x), ElementsAre(12));
}

TEST(EngineTest, WhatOthersHoldStaysAsItIs) {
  const Variable x = Leaf({1});
  const Variable middle = Scale(x, 1);
  Tensor partial, held;
  const Variable early = AskingForPartial(middle, &partial);
  const Variable late = Add(middle, Leaf({1}));
  late.AddGradientHook([&](const Tensor& dy) { return held = dy; });
  Backward(Add(Scale(early, 2), Scale(late, 10)));
  EXPECT_FALSE(partial.defined());
  EXPECT_THAT(ToVector<float>(held), ElementsAre(10));
  EXPECT_THAT(GradientOf(x), ElementsAre(12));
}

// Gradients of a stream that a norm reads, beside the norm; and how many sums
// the engine made. With `held`, somebody keeps the stream's gradient from
// before the norm's came.
struct StreamGradient {
  Tensor value;
  int64_t sums;
};

StreamGradient GradientOfStream(DType dtype, bool held) {
  const Variable weight(RandomNormal({33}, 1, DType::kF32), true);
  const Variable x(RandomNormal({5, 33}, 2, dtype), true);
  const Variable stream = Scale(x, 3);
  const Variable normed = LayerNorm(stream, weight, Variable(), 1e-5);
  const Variable y = Add(stream, Scale(normed, 2));
  Tensor kept;
  if (held) y.AddGradientHook([&](const Tensor& dy) { return kept = dy; });
  trace::Start();
  Backward(y, RandomNormal({5, 33}, 3, dtype));
  trace::Stop();
  int64_t sums = 0;
  for (const trace::ThreadTrace& thread : trace::Collect()) {
    for (const trace::SpanRecord& span : thread.spans) {
      sums += span.category == std::string("kernel") &&
              span.name == std::string("add");
    }
  }
  return {Clone(x.gradient()), sums};
}

// Whether a norm adds its gradient to the stream's or the engine does.
TEST(EngineTest, WhoAddsDoesNotChangeTheBits) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const StreamGradient by_norm = GradientOfStream(dtype, false);
    EXPECT_EQ(by_norm.sums, 0) << dtype;
    const StreamGradient by_engine = GradientOfStream(dtype, true);
    EXPECT_EQ(by_engine.sums, 1) << dtype;
    EXPECT_THAT(by_engine.value, HasBitsOf(by_norm.value)) << dtype;
  }
}

}  // namespace
}  // namespace nextword

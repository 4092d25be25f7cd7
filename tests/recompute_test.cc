// Recompute: the same bits as without it, for less memory.
#include "autograd/ops/recompute.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "autograd/base/trace.h"
#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/activation.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/norm.h"
#include "autograd/tensor/allocator.h"
#include "tests/testing.h"

namespace nextword {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kSize = 48;

Variable Weight(const Shape& shape, uint64_t seed) {
  return Variable(RandomNormal(shape, seed, DType::kF32), true);
}

// x + dropout(gelu(norm(x) w')): a residual block with leaves of its own.
class Block {
 public:
  explicit Block(uint32_t site)
      : site_(site),
        weight_(Weight({kSize, kSize}, site)),
        scale_(Weight({kSize}, site + 100)) {}

  Variable operator()(const Variable& x) const {
    const Variable h = Gelu(Linear(RmsNorm(x, scale_, 1e-5), weight_));
    return Add(x, Dropout(h, 0.2, {.seed = 1, .site = site_}));
  }

  const Variable& weight() const { return weight_; }
  const Variable& scale() const { return scale_; }

 private:
  uint32_t site_;
  Variable weight_, scale_;
};

// Runs two Backwards from function(x) and returns the value, then the gradients
// of x and of the leaves.
std::vector<Tensor> Results(const std::vector<Variable>& leaves,
                            const std::function<Variable(Variable)>& function) {
  for (Variable leaf : leaves) leaf.ClearGradient();
  const Variable x = Weight({5, kSize}, 9);
  std::vector<Tensor> results;
  for (int pass = 0; pass < 2; ++pass) {
    const Variable y = function(x);
    results.push_back(y.value());
    Backward(y, RandomNormal(y.shape(), 77 + pass, DType::kF32));
  }
  results.push_back(x.gradient());
  for (const Variable& leaf : leaves) results.push_back(leaf.gradient());
  return results;
}

void ExpectSameBits(const std::vector<Tensor>& got,
                    const std::vector<Tensor>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    SCOPED_TRACE("result " + std::to_string(i));
    ASSERT_TRUE(got[i].defined());
    EXPECT_THAT(got[i], HasBitsOf(wanted[i]));
  }
}

TEST(RecomputeTest, GivesTheSameBits) {
  const Block a(1), b(2);
  const std::vector<Variable> leaves = {a.weight(), a.scale(), b.weight(),
                                        b.scale()};
  ExpectSameBits(
      Results(leaves,
              [&](Variable x) { return Recompute(b, Recompute(a, x)); }),
      Results(leaves, [&](Variable x) { return b(a(x)); }));
}

TEST(RecomputeTest, Nests) {
  const Block a(1), b(2), c(3);
  const std::vector<Variable> leaves = {a.weight(), b.weight(), c.weight(),
                                        c.scale()};
  const auto inner = [&](const Variable& x) { return b(Recompute(a, x)); };
  ExpectSameBits(
      Results(leaves,
              [&](Variable x) {
                return Recompute(
                    [&](const Variable& x) { return c(Recompute(inner, x)); },
                    x);
              }),
      Results(leaves, [&](Variable x) { return c(b(a(x))); }));
}

TEST(RecomputeTest, TheInputNeedsNoGradient) {
  const Block block(1);
  const auto gradient = [&](auto function) {
    Variable(block.weight()).ClearGradient();
    Backward(function(Variable(RandomNormal({5, kSize}, 9, DType::kF32))));
    return block.weight().gradient();
  };
  EXPECT_THAT(gradient([&](const Variable& x) { return Recompute(block, x); }),
              HasBitsOf(gradient(block)));
}

// A weight that several blocks share is one leaf with one sum.
TEST(RecomputeTest, SharedLeavesAccumulateAsWithoutIt) {
  const Block block(1);
  const std::vector<Variable> leaves = {block.weight(), block.scale()};
  int told = 0;
  block.weight().AddAccumulatedHook([&] { ++told; });
  const std::vector<Tensor> recomputed = Results(leaves, [&](Variable x) {
    for (int i = 0; i < 3; ++i) x = Recompute(block, x);
    return x;
  });
  EXPECT_EQ(told, 2);  // Once per Backward, when all three have added.
  ExpectSameBits(recomputed, Results(leaves, [&](Variable x) {
                   return block(block(block(x)));
                 }));
}

// Not only leaves: the function may use what was computed outside of it.
TEST(RecomputeTest, DifferentiatesThroughCapturedVariables) {
  const Variable a = Weight({3}, 1), b = Weight({3}, 2);
  const Variable outside = Mul(a, b);
  const Variable y =
      Recompute([&](const Variable& x) { return Mul(Exp(x), outside); }, b);
  Backward(Add(y, outside));
  const Tensor got_a = a.gradient(), got_b = b.gradient();

  Variable(a).ClearGradient();
  Variable(b).ClearGradient();
  const Variable again = Mul(a, b);
  Backward(Add(Mul(Exp(b), again), again));
  EXPECT_THAT(got_a, HasBitsOf(a.gradient()));
  EXPECT_THAT(got_b, IsNear(b.gradient(), 1e-6));
}

TEST(RecomputeTest, AFunctionThatComputesNothing) {
  const Variable x = Weight({3}, 1), y = Weight({3}, 2);
  const auto identity = [](const Variable& x) { return x; };
  Backward(Recompute(identity, x));
  EXPECT_THAT(ToVector<float>(x.gradient()), ElementsAre(1, 1, 1));
  const Variable constant =
      Recompute(identity, Variable(Zeros({3}, DType::kF32)));
  EXPECT_FALSE(constant.requires_grad());
  EXPECT_FALSE(Recompute(Silu, constant).requires_grad());
}

TEST(RecomputeTest, WithoutGradientsItIsACall) {
  const NoGradScope no_grad;
  int calls = 0;
  const Variable x = Weight({3}, 1);
  const Variable y = Recompute(
      [&](const Variable& x) {
        ++calls;
        return Silu(x);
      },
      x);
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(y.requires_grad());
}

int64_t CallsOf(const std::string& kernel, const std::function<void()>& body) {
  trace::Start();
  body();
  trace::Stop();
  int64_t calls = 0;
  for (const trace::ThreadTrace& thread : trace::Collect()) {
    for (const trace::SpanRecord& span : thread.spans) {
      calls += span.category == std::string("kernel") && span.name == kernel;
    }
  }
  return calls;
}

// Its result is not needed for gradients; one that somebody reads is.
TEST(RecomputeTest, ALastProductIsNotMadeAgain) {
  const Variable up = Weight({kSize, kSize}, 1);
  const Variable down = Weight({kSize, kSize}, 2);
  const std::vector<Variable> weights = {up, down};
  const std::function<Variable(const Variable&)> last = [&](const Variable& x) {
    return Linear(Silu(Linear(x, up)), down, Variable(), x);
  };
  const std::function<Variable(const Variable&)> read = [&](const Variable& x) {
    return Scale(last(x), 2);
  };
  for (const auto& function : {last, read}) {
    const auto again = [&](const Variable& x) {
      return Recompute(function, x);
    };
    ExpectSameBits(Results(weights, again), Results(weights, function));
  }
  const auto products = [&](const auto& function) {
    return CallsOf("linear", [&] { Results(weights, function); });
  };
  // Two passes, each forward and again.
  EXPECT_EQ(products([&](const Variable& x) { return Recompute(last, x); }),
            2 * (2 + 1));
  EXPECT_EQ(products([&](const Variable& x) { return Recompute(read, x); }),
            2 * (2 + 2));
}

TEST(RecomputeTest, NorIsThatOfAFeedForwardLayer) {
  const Variable up = Weight({kSize, kSize}, 1);
  const Variable down = Weight({kSize, kSize}, 2);
  const std::function<Variable(const Variable&)> layer =
      [&](const Variable& x) {
        return GeluTanhFeedForward(x, up, Variable(), down, Variable(), x);
      };
  const auto again = [&](const Variable& x) { return Recompute(layer, x); };
  ExpectSameBits(Results({up, down}, again), Results({up, down}, layer));
  EXPECT_EQ(CallsOf("linear", [&] { Results({up, down}, again); }), 2);
  EXPECT_EQ(CallsOf("linear_gelu_tanh",
                    [&] {
                      Results({up, down}, again);
                    }),
            4);
}

TEST(RecomputeTest, KeepsOnlyTheEnds) {
  const auto live_bytes = [] {
    return AllocatorFor(Device::Cpu()).stats().live_bytes;
  };
  const auto chain = [](Variable x) {
    for (int i = 0; i < 10; ++i) x = Tanh(x);
    return x;
  };
  const Variable x = Weight({1000}, 1);
  const int64_t before = live_bytes();
  Variable y = x;
  for (int i = 0; i < 10; ++i) y = Recompute(chain, y);
  EXPECT_EQ(live_bytes() - before, 10 * x.value().size_bytes());
  AllocatorFor(Device::Cpu()).ResetPeak();
  Backward(y);
  // One chain at a time, and a few gradients.
  EXPECT_LE(AllocatorFor(Device::Cpu()).stats().peak_bytes - before,
            (10 + 10 + 5) * x.value().size_bytes());
}

TEST(RecomputeTest, DeepChainsNeedNoStack) {
  const auto chain = [] {
    Variable x = Weight({1}, 1);
    for (int i = 0; i < 100000; ++i) x = Recompute(Silu, x);
    return x;
  };
  Backward(chain());
  chain();  // Dropped as it is.
}

}  // namespace
}  // namespace nextword

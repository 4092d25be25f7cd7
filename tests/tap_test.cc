// Taps: which activations they see, and what replacing one does.
#include "layers/tap.h"

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/reduction.h"
#include "tests/testing.h"
#include "tests/testing_models.h"

namespace nextword {
namespace {

using ::testing::ElementsAreArray;
using ::testing::Not;

constexpr int64_t kBatch = 2, kLength = 11;

// Watches what `wants` accepts, and goes on with what `replace` holds.
class TestTap : public layers::Tap {
 public:
  using Predicate = std::function<bool(const std::string&)>;
  explicit TestTap(Predicate wants) : wants_(std::move(wants)) {}

  bool Wants(const std::string& name) const override { return wants_(name); }
  Variable Visit(const std::string& name, const Variable& x) override {
    names.push_back(name);
    seen[name] = x.value();
    const auto it = replace.find(name);
    return it == replace.end() ? x : it->second;
  }

  std::vector<std::string> names;
  std::map<std::string, Tensor> seen;
  std::map<std::string, Variable> replace;

 private:
  const Predicate wants_;
};

bool Everything(const std::string&) { return true; }
bool AllButPatterns(const std::string& name) {
  return !name.ends_with("pattern");
}

class TapTest : public testing::TestWithParam<std::string> {
 protected:
  const ModelConfig config_ = GetParam() == "gpt2" ? Gpt2Like() : LlamaLike();
  const TestModel model_ = TestModel(config_);
  const Tensor ids_ = RandomTokens(config_, kBatch, kLength, 1);
  const Tensor logits_ = LogitsOf(model_, ids_);
};

TEST_P(TapTest, SeesEveryActivationInOrder) {
  TestTap tap(Everything);
  LogitsOf(model_, ids_, {.tap = &tap});
  std::vector<std::string> names = {"embed"};
  for (const char* block : {"blocks.0.", "blocks.1."}) {
    for (const char* name :
         {"resid_pre", "q", "k", "v", "pattern", "z", "attn_out", "resid_mid",
          "mlp_pre", "mlp_post", "mlp_out", "resid_post"}) {
      names.push_back(std::string(block) + name);
    }
  }
  names.insert(names.end(), {"final_norm", "logits"});
  EXPECT_THAT(tap.names, ElementsAreArray(names));
}

TEST_P(TapTest, ActivationsHaveTheirShapes) {
  TestTap tap(Everything);
  LogitsOf(model_, ids_, {.tap = &tap});
  const int64_t heads = config_.num_heads(), kv_heads = config_.kv_heads();
  const int64_t size = config_.head_dim(), mlp = config_.mlp_size();
  const int64_t pre = config_.activation() == SWIGLU ? 2 * mlp : mlp;
  const Shape residual = {kBatch, kLength, config_.hidden_size()};
  const std::map<std::string, Shape> in_block = {
      {"resid_pre", residual},
      {"q", {kBatch, kLength, heads, size}},
      {"k", {kBatch, kLength, kv_heads, size}},
      {"v", {kBatch, kLength, kv_heads, size}},
      {"pattern", {kBatch, heads, kLength, kLength}},
      {"z", {kBatch, kLength, heads, size}},
      {"attn_out", residual},
      {"resid_mid", residual},
      {"mlp_pre", {kBatch, kLength, pre}},
      {"mlp_post", {kBatch, kLength, mlp}},
      {"mlp_out", residual},
      {"resid_post", residual}};
  for (const auto& [name, shape] : in_block) {
    EXPECT_EQ(tap.seen.at("blocks.0." + name).shape(), shape) << name;
    EXPECT_EQ(tap.seen.at("blocks.1." + name).shape(), shape) << name;
  }
  EXPECT_EQ(tap.seen.at("embed").shape(), residual);
  EXPECT_EQ(tap.seen.at("final_norm").shape(), residual);
  EXPECT_EQ(tap.seen.at("logits").shape(), logits_.shape());
}

TEST_P(TapTest, WatchingChangesNoBit) {
  TestTap tap(AllButPatterns);
  EXPECT_THAT(LogitsOf(model_, ids_, {.tap = &tap}), HasBitsOf(logits_));
  EXPECT_FALSE(tap.seen.contains("blocks.0.pattern"));
  EXPECT_THAT(tap.seen.at("logits"), HasBitsOf(logits_));
  // The pattern's way sums in another order.
  TestTap with_pattern(Everything);
  EXPECT_THAT(LogitsOf(model_, ids_, {.tap = &with_pattern}),
              IsNear(logits_, 1e-5));
}

TEST_P(TapTest, PatternsAreDistributionsOverEarlierTokens) {
  TestTap tap(Everything);
  LogitsOf(model_, ids_, {.tap = &tap});
  for (const char* name : {"blocks.0.pattern", "blocks.1.pattern"}) {
    const std::vector<double> pattern = ToDoubles(tap.seen.at(name));
    const int64_t rows = static_cast<int64_t>(pattern.size()) / kLength;
    for (int64_t row = 0; row < rows; ++row) {
      double sum = 0;
      for (int64_t key = 0; key < kLength; ++key) {
        const double p = pattern[row * kLength + key];
        EXPECT_TRUE(key <= row % kLength ? p > 0 : p == 0)
            << name << ", row " << row << ", key " << key << ": " << p;
        sum += p;
      }
      EXPECT_NEAR(sum, 1, 1e-6) << name << " row " << row;
    }
  }
}

TEST_P(TapTest, PatchingWithTheSameChangesNoBit) {
  TestTap before(AllButPatterns);
  LogitsOf(model_, ids_, {.tap = &before});
  for (const auto& [name, value] : before.seen) {
    TestTap tap(AllButPatterns);
    tap.replace[name] = Variable(Clone(value));
    EXPECT_THAT(LogitsOf(model_, ids_, {.tap = &tap}), HasBitsOf(logits_))
        << name;
  }
}

TEST_P(TapTest, PatchingChangesWhatFollows) {
  TestTap before(Everything);
  LogitsOf(model_, ids_, {.tap = &before});
  for (const auto& [name, value] : before.seen) {
    TestTap tap(Everything);
    tap.replace[name] = Variable(ZerosLike(value));
    const Tensor patched = LogitsOf(model_, ids_, {.tap = &tap});
    EXPECT_THAT(patched, Not(IsNear(logits_, 1e-3))) << name;
  }
  // The patch of one model in place of another's: the rest of the stream is
  // that of the other.
  const TestModel other(config_, /*seed=*/2);
  TestTap donor(AllButPatterns), tap(AllButPatterns);
  LogitsOf(other, ids_, {.tap = &donor});
  tap.replace["blocks.1.resid_post"] =
      Variable(before.seen.at("blocks.1.resid_post"));
  LogitsOf(model_, ids_, {.tap = &tap});
  EXPECT_THAT(donor.seen.at("final_norm"),
              Not(HasBitsOf(tap.seen.at("final_norm"))));
}

TEST_P(TapTest, GradientsReachAPatch) {
  TestTap before(AllButPatterns);
  LogitsOf(model_, ids_, {.tap = &before});
  TestTap tap(AllButPatterns);
  const Variable patch(Clone(before.seen.at("blocks.0.resid_post")), true);
  tap.replace["blocks.0.resid_post"] = patch;
  Backward(Sum(model_.transformer.Forward(ids_, {.tap = &tap})));
  EXPECT_THAT(patch.gradient(), Not(HasBitsOf(ZerosLike(patch.gradient()))));
  for (const Parameters::Entry& entry : model_.parameters.entries()) {
    const Tensor& gradient = entry.variable.gradient();
    // Nothing flows past the patch to what came before it.
    if (entry.name.starts_with("blocks.0.")) {
      EXPECT_THAT(gradient, HasBitsOf(ZerosLike(gradient))) << entry.name;
    } else if (entry.name.starts_with("blocks.1.") &&
               entry.name.ends_with("weight")) {
      EXPECT_THAT(gradient, Not(HasBitsOf(ZerosLike(gradient)))) << entry.name;
    }
  }
}

TEST_P(TapTest, WorksWhereBlocksAreRecomputed) {
  ModelConfig recomputed = config_;
  recomputed.set_recompute(ModelConfig::BLOCK);
  const TestModel model(recomputed);
  TestTap tap(AllButPatterns);
  const Variable logits = model.transformer.Forward(ids_, {.tap = &tap});
  EXPECT_THAT(logits.value(), HasBitsOf(logits_));
  Backward(Sum(logits));
  // Visited in the forward pass, and not a second time in the backward pass.
  EXPECT_EQ(tap.names.size(), tap.seen.size());
}

INSTANTIATE_TEST_SUITE_P(, TapTest, testing::Values("gpt2", "llama"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace nextword

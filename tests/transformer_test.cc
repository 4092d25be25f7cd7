// The transformer on configs at random: its size, its first loss, what a token
// can see, and that the way of computing leaves no trace in the bits.
#include "layers/transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/reduction.h"
#include "autograd/tensor/allocator.h"
#include "configs/config.h"
#include "configs/model_config.h"
#include "layers/model_cost.h"
#include "tests/testing.h"
#include "tests/testing_models.h"

namespace nextword {
namespace {

using layers::ForwardContext;

constexpr uint64_t kSeeds = 12;

// Calls `body` for every config that the tests of this file run on.
void ForEachModel(const std::function<void(const ModelConfig&)>& body) {
  std::vector<ModelConfig> configs = {Gpt2Like(), LlamaLike()};
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    configs.push_back(RandomModel(seed));
  }
  for (const ModelConfig& config : configs) {
    SCOPED_TRACE(config.ShortDebugString());
    body(config);
  }
}

// Sequences that end within, and that go over, a strip of fused attention.
constexpr int64_t kLengths[] = {21, 150};

// `ids` [B, T] with other tokens in columns [begin, end).
Tensor WithOthers(const Tensor& ids, int64_t begin, int64_t end,
                  const ModelConfig& config) {
  std::vector<int32_t> changed = ToVector<int32_t>(ids);
  for (int64_t row = 0; row < ids.dim(0); ++row) {
    for (int64_t t = begin; t < end; ++t) {
      int32_t& id = changed[row * ids.dim(1) + t];
      id = (id + 1) % config.vocab_size();
    }
  }
  return FromVector(changed, ids.shape(), ids.device());
}

// Positions at which logits [B, T, V] differ by a bit in some sequence.
std::vector<int64_t> ChangedPositions(const Tensor& a, const Tensor& b) {
  const int64_t batch = a.dim(0), length = a.dim(1), size = a.dim(2);
  const std::vector<float> of_a = ToVector<float>(a), of_b = ToVector<float>(b);
  std::vector<int64_t> positions;
  for (int64_t t = 0; t < length; ++t) {
    bool changed = false;
    for (int64_t row = 0; row < batch; ++row) {
      const int64_t at = (row * length + t) * size;
      changed |= std::memcmp(of_a.data() + at, of_b.data() + at,
                             size * sizeof(float)) != 0;
    }
    if (changed) positions.push_back(t);
  }
  return positions;
}

// The last of `length` positions that depends on `position`: every block
// carries it window - 1 tokens further.
int64_t Reach(const ModelConfig& config, int64_t position, int64_t length) {
  const int64_t window = config.sliding_window();
  if (window == 0) return length - 1;
  return std::min(length - 1, position + config.layers() * (window - 1));
}

// Asks for the pattern, so that attention goes the way that makes it.
class PatternTap : public layers::Tap {
 public:
  bool Wants(const std::string& name) const override {
    return name.ends_with(".pattern");
  }
  Variable Visit(const std::string&, const Variable& x) override { return x; }
};

// Calls `body` with a context for either way that attention takes.
void ForBothAttentions(const std::function<void(ForwardContext)>& body) {
  {
    SCOPED_TRACE("fused attention");
    body({});
  }
  SCOPED_TRACE("attention by its pattern");
  PatternTap tap;
  body({.tap = &tap});
}

int64_t LiveBytes() { return AllocatorFor(Device::Cpu()).stats().live_bytes; }

TEST(TransformerTest, CountIsWhatTheAllocatorHolds) {
  ForEachModel([](const ModelConfig& config) {
    const int64_t before = LiveBytes();
    const int64_t count = layers::CountParameters(config).total();
    {
      const layers::Transformer declared(config);
      EXPECT_EQ(LiveBytes(), before) << "declaring allocates nothing";
      const Parameters parameters(declared.NamedParameters(), DType::kF32,
                                  Device::Cpu());
      EXPECT_EQ(parameters.numel(), count);
      // Values and gradients.
      EXPECT_EQ(LiveBytes() - before, 2 * count * int64_t{sizeof(float)});
    }
    EXPECT_EQ(LiveBytes(), before);
  });
}

TEST(TransformerTest, CountOfKnownParts) {
  const layers::ParameterCount gpt2 = layers::CountParameters(Gpt2Like());
  EXPECT_EQ(gpt2.embedding, (67 + kTestContext) * 24);
  EXPECT_EQ(gpt2.attention, 2 * 4 * 24 * 24);
  EXPECT_EQ(gpt2.feed_forward, 2 * 8 * 24 * 24);
  EXPECT_EQ(gpt2.head, 0);
  // Five norms of weight and bias; biases of qkv, out, up and down.
  EXPECT_EQ(gpt2.vectors, 5 * 2 * 24 + 2 * (3 + 1 + 4 + 1) * 24);
  const layers::ParameterCount llama = layers::CountParameters(LlamaLike());
  EXPECT_EQ(llama.embedding, 67 * 24);
  EXPECT_EQ(llama.attention, 2 * (24 * 24 + 2 * 12 * 24 + 24 * 24));
  EXPECT_EQ(llama.feed_forward, 2 * 3 * 24 * 40);
  EXPECT_EQ(llama.head, 67 * 24);
  EXPECT_EQ(llama.vectors, 5 * 24);
}

// The mean loss on random tokens, before any training.
double FirstLoss(ModelConfig config, int64_t length) {
  config.set_init_std(ModelConfig().init_std());
  const TestModel model(config);
  const NoGradScope no_grad;
  const Tensor ids = RandomTokens(config, 4, length, 1);
  const Tensor targets = RandomTokens(config, 4, length, 2);
  const Variable losses = CrossEntropy(model.transformer.Forward(ids), targets);
  return ToDoubles(Sum(losses).value()).front() /
         static_cast<double>(ids.numel());
}

TEST(TransformerTest, FirstLossIsTheLogarithmOfTheVocabulary) {
  ForEachModel([](const ModelConfig& config) {
    EXPECT_NEAR(FirstLoss(config, 150), std::log(config.vocab_size()), 0.1);
  });
  const auto config = LoadTrainConfig("configs/quickstart.textproto", {});
  ASSERT_TRUE(config.ok()) << config.status();
  const int64_t vocab_size = config->data().tokenizer_vocab_size();
  const auto quickstart = ResolveModel(config->model(), vocab_size);
  ASSERT_TRUE(quickstart.ok()) << quickstart.status();
  EXPECT_NEAR(FirstLoss(*quickstart, quickstart->context_length()),
              std::log(vocab_size), 0.1);
}

TEST(TransformerTest, NoTokenSeesALaterOne) {
  ForEachModel([](const ModelConfig& config) {
    const TestModel model(config);
    for (const int64_t length : kLengths) {
      const Tensor ids = RandomTokens(config, 2, length, 3);
      ForBothAttentions([&](const ForwardContext& context) {
        const Tensor logits = LogitsOf(model, ids, context);
        for (const int64_t t : {int64_t{0}, length / 2, length - 2}) {
          const Tensor others = WithOthers(ids, t + 1, length, config);
          const std::vector<int64_t> changed =
              ChangedPositions(logits, LogitsOf(model, others, context));
          ASSERT_FALSE(changed.empty());
          EXPECT_EQ(changed.front(), t + 1);
        }
      });
    }
  });
}

TEST(TransformerTest, DocumentsDoNotSeeEachOther) {
  ForEachModel([](const ModelConfig& config) {
    const TestModel model(config);
    for (const int64_t length : kLengths) {
      // Three documents: [0, first), [first, second), [second, length).
      const int64_t first = length / 3, second = length / 2;
      const Tensor ids = RandomTokens(config, 2, length, 4);
      std::vector<int32_t> numbers;
      for (int64_t i = 0; i < ids.numel(); ++i) {
        const int64_t t = i % length;
        numbers.push_back((t >= first) + (t >= second));
      }
      const Tensor documents = FromVector(numbers, ids.shape(), ids.device());
      ForBothAttentions([&](ForwardContext context) {
        context.documents = documents;
        const Tensor logits = LogitsOf(model, ids, context);
        const Tensor others = WithOthers(ids, first, second, config);
        const std::vector<int64_t> changed =
            ChangedPositions(logits, LogitsOf(model, others, context));
        ASSERT_FALSE(changed.empty());
        EXPECT_EQ(changed.front(), first);
        EXPECT_EQ(changed.back(), second - 1);
        // Without the mask they would.
        context.documents = Tensor();
        EXPECT_EQ(ChangedPositions(LogitsOf(model, ids, context),
                                   LogitsOf(model, others, context))
                      .back(),
                  Reach(config, second - 1, length));
      });
    }
  });
}

TEST(TransformerTest, WindowBoundsWhatATokenReaches) {
  for (ModelConfig config : {Gpt2Like(), LlamaLike()}) {
    for (const int window : {1, 2, 5, 64, 70}) {
      config.set_sliding_window(window);
      SCOPED_TRACE(config.ShortDebugString());
      const TestModel model(config);
      const Tensor ids = RandomTokens(config, 1, kTestContext, 5);
      constexpr int64_t kChanged = 10;
      const Tensor other = WithOthers(ids, kChanged, kChanged + 1, config);
      ForBothAttentions([&](const ForwardContext& context) {
        const std::vector<int64_t> changed = ChangedPositions(
            LogitsOf(model, ids, context), LogitsOf(model, other, context));
        ASSERT_FALSE(changed.empty());
        EXPECT_EQ(changed.front(), kChanged);
        EXPECT_EQ(changed.back(), Reach(config, kChanged, kTestContext));
      });
    }
  }
}

TEST(TransformerTest, BothAttentionsAgree) {
  ForEachModel([](const ModelConfig& config) {
    const TestModel model(config);
    PatternTap tap;
    for (const int64_t length : kLengths) {
      const Tensor ids = RandomTokens(config, 2, length, 6);
      EXPECT_THAT(LogitsOf(model, ids, {.tap = &tap}),
                  IsNear(LogitsOf(model, ids), 1e-5));
    }
  });
}

TEST(TransformerTest, RecomputationLeavesTheSameBits) {
  ForEachModel([](ModelConfig config) {
    for (const double dropout : {0.0, 0.2}) {
      const ForwardContext context{.dropout = dropout,
                                   .random = {.seed = 9, .step = 3}};
      config.set_recompute(ModelConfig::NONE);
      const LossAndGradients kept = TrainOn(config, context, 2, 70, 7);
      for (const auto what : {ModelConfig::MLP, ModelConfig::BLOCK}) {
        config.set_recompute(what);
        const LossAndGradients made_again = TrainOn(config, context, 2, 70, 7);
        EXPECT_THAT(made_again.loss, HasBitsOf(kept.loss));
        EXPECT_THAT(made_again.gradients, HasBitsOf(kept.gradients));
      }
    }
  });
}

TEST(TransformerTest, DropoutIsAFunctionOfItsKey) {
  const ModelConfig config = Gpt2Like();
  const auto loss = [&](const ForwardContext& context) {
    return ToDoubles(TrainOn(config, context, 2, 21, 8).loss).front();
  };
  const double without = loss({});
  const double with = loss({.dropout = 0.2, .random = {.seed = 1}});
  EXPECT_NE(with, without);
  EXPECT_EQ(with, loss({.dropout = 0.2, .random = {.seed = 1}}));
  EXPECT_NE(with, loss({.dropout = 0.2, .random = {.seed = 2}}));
  EXPECT_NE(with, loss({.dropout = 0.2, .random = {.seed = 1, .step = 1}}));
  EXPECT_NE(with, loss({.dropout = 0.2, .random = {.seed = 1, .sample = 1}}));
}

TEST(TransformerTest, ThreadsLeaveTheSameBits) {
  ForEachModel([](const ModelConfig& config) {
    const ForwardContext context{.dropout = 0.1, .random = {.seed = 4}};
    SetNumThreads(1);
    const LossAndGradients one = TrainOn(config, context, 4, 150, 10);
    for (const int threads : {2, 3}) {
      SetNumThreads(threads);
      const LossAndGradients several = TrainOn(config, context, 4, 150, 10);
      EXPECT_THAT(several.loss, HasBitsOf(one.loss));
      EXPECT_THAT(several.gradients, HasBitsOf(one.gradients));
    }
    SetNumThreads(0);
  });
}

TEST(TransformerTest, WeightsFollowFromSeedAndName) {
  const ModelConfig config = LlamaLike();
  ModelConfig deeper = config;
  deeper.set_layers(3);
  const TestModel a(config, 1), b(config, 1), c(config, 2), d(deeper, 1);
  EXPECT_THAT(a.parameters.values(), HasBitsOf(b.parameters.values()));
  EXPECT_THAT(a.parameters.values(),
              testing::Not(HasBitsOf(c.parameters.values())));
  // The embedding, a norm, and the weights of queries, keys and values: the
  // depth of the model shows in none of them.
  for (size_t i = 0; i < 3; ++i) {
    const Parameters::Entry& entry = a.parameters.entries()[i];
    EXPECT_EQ(d.parameters.entries()[i].name, entry.name);
    EXPECT_THAT(d.parameters.entries()[i].variable.value(),
                HasBitsOf(entry.variable.value()));
  }
}

}  // namespace
}  // namespace nextword

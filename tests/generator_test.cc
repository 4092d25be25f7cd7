// Generation with a KV cache gives what computing everything anew gives.
#include "layers/generator.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "autograd/kernels/kernels.h"
#include "layers/kv_cache.h"
#include "tests/testing.h"
#include "tests/testing_models.h"

namespace nextword {
namespace {

using layers::Generator;
using layers::KvCache;
using layers::SamplerOptions;

std::vector<ModelConfig> Models() {
  std::vector<ModelConfig> configs = {Gpt2Like(), LlamaLike()};
  for (uint64_t seed = 20; seed < 32; ++seed) {
    configs.push_back(RandomModel(seed));
  }
  return configs;
}

std::vector<int32_t> Prompt(const ModelConfig& config, int64_t length) {
  return ToVector<int32_t>(RandomTokens(config, 1, length, 1));
}

Tensor Row(const std::vector<int32_t>& ids) {
  return FromVector(ids, {1, static_cast<int64_t>(ids.size())}, TestDevice());
}

// The best token below `limit` after `ids`, by a forward pass over all of them.
int32_t BestNext(const TestModel& model, const std::vector<int32_t>& ids,
                 int32_t limit) {
  const std::vector<float> logits = ToVector<float>(LogitsOf(model, Row(ids)));
  const auto last = logits.end() - model.transformer.config().vocab_size();
  return static_cast<int32_t>(std::max_element(last, last + limit) - last);
}

std::vector<int32_t> Generate(const TestModel& model, int32_t vocab_size,
                              const SamplerOptions& options,
                              const std::vector<int32_t>& prompt,
                              int64_t count) {
  std::vector<int32_t> ids;
  Generator(&model.transformer, vocab_size, options)
      .Generate(prompt, count, [&](int32_t id) {
        ids.push_back(id);
        return true;
      });
  return ids;
}

TEST(GeneratorTest, CacheGivesTheSameLogits) {
  for (const ModelConfig& config : Models()) {
    SCOPED_TRACE(config.ShortDebugString());
    const TestModel model(config);
    const Tensor ids = RandomTokens(config, 2, kTestContext, 2);
    const Tensor all = LogitsOf(model, ids);
    KvCache cache(config, 2, kTestContext, DType::kF32, TestDevice());
    // In parts of several sizes, as prompts and tokens come.
    int64_t begin = 0;
    for (const int64_t count : {7, 1, 1, 64, 1, 80, 6}) {
      Tensor part = Empty({2, count}, DType::kI32, TestDevice());
      Tensor wanted =
          Empty({2, count, config.vocab_size()}, DType::kF32, TestDevice());
      kernels::copy_range(ids, 1, begin, &part, 0, count);
      kernels::copy_range(all, 1, begin, &wanted, 0, count);
      EXPECT_THAT(LogitsOf(model, part, {.cache = &cache}),
                  IsNear(wanted, 1e-5))
          << "from token " << begin;
      begin += count;
    }
    EXPECT_EQ(begin, kTestContext);
    EXPECT_EQ(cache.length(), kTestContext);
  }
}

TEST(GeneratorTest, GreedyTextIsThatOfFullRecomputation) {
  for (const ModelConfig& config : Models()) {
    SCOPED_TRACE(config.ShortDebugString());
    const TestModel model(config);
    // Ids from here on are padding.
    const int32_t limit = config.vocab_size() - 10;
    std::vector<int32_t> text = Prompt(config, 5);
    const std::vector<int32_t> generated =
        Generate(model, limit, {.temperature = 0}, text, 40);
    std::vector<int32_t> wanted;
    for (int i = 0; i < 40; ++i) {
      wanted.push_back(BestNext(model, text, limit));
      text.push_back(wanted.back());
    }
    EXPECT_EQ(generated, wanted);
  }
}

// Beyond its context it begins again with the last half.
TEST(GeneratorTest, GoesOnBeyondTheContext) {
  for (ModelConfig config : {Gpt2Like(), LlamaLike()}) {
    constexpr size_t kContext = 12;
    config.set_context_length(kContext);
    const TestModel model(config);
    for (const int prompt_length : {1, 12, 30}) {
      std::vector<int32_t> text = Prompt(config, prompt_length);
      const std::vector<int32_t> generated =
          Generate(model, config.vocab_size(), {.temperature = 0}, text, 40);
      size_t begin = 0;
      std::vector<int32_t> wanted;
      for (int i = 0; i < 40; ++i) {
        if (text.size() - begin > kContext) begin = text.size() - kContext / 2;
        wanted.push_back(BestNext(model, {text.begin() + begin, text.end()},
                                  config.vocab_size()));
        text.push_back(wanted.back());
      }
      EXPECT_EQ(generated, wanted) << "prompt of " << prompt_length;
    }
  }
}

TEST(GeneratorTest, TheSmallestContext) {
  ModelConfig config = LlamaLike();
  config.set_context_length(1);
  const TestModel model(config);
  EXPECT_EQ(Generate(model, config.vocab_size(), {}, {1, 2, 3}, 9).size(), 9);
}

TEST(GeneratorTest, SeedDecidesTheText) {
  const ModelConfig config = LlamaLike();
  const TestModel model(config);
  const auto text = [&](uint64_t seed) {
    return Generate(model, config.vocab_size(), {.seed = seed}, {1, 2, 3}, 30);
  };
  EXPECT_EQ(text(1), text(1));
  EXPECT_NE(text(1), text(2));
}

TEST(GeneratorTest, AGeneratorCanBeUsedAgain) {
  const ModelConfig config = LlamaLike();
  const TestModel model(config);
  Generator generator(&model.transformer, config.vocab_size(), {});
  std::vector<int32_t> first, second;
  generator.Generate({4, 5}, 20, [&](int32_t id) {
    first.push_back(id);
    return true;
  });
  generator.Generate({4, 5}, 20, [&](int32_t id) {
    second.push_back(id);
    return true;
  });
  EXPECT_EQ(first, second);
}

TEST(GeneratorTest, StopsWhenToldTo) {
  const ModelConfig config = Gpt2Like();
  const TestModel model(config);
  int emitted = 0;
  Generator(&model.transformer, config.vocab_size(), {})
      .Generate({1}, 100, [&](int32_t) { return ++emitted < 5; });
  EXPECT_EQ(emitted, 5);
  EXPECT_TRUE(Generate(model, config.vocab_size(), {}, {1}, 0).empty());
}

TEST(GeneratorTest, PaddingIsNeverChosen) {
  const ModelConfig config = Gpt2Like();
  const TestModel model(config);
  for (const int32_t id :
       Generate(model, 7, {.temperature = 5}, Prompt(config, 9), 100)) {
    EXPECT_LT(id, 7);
  }
}

}  // namespace
}  // namespace nextword

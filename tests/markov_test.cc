// Learning is real: a model trained on a first-order Markov source predicts
// held-out tokens as well as the source's entropy allows, and never better:
// that would mean that it sees what it predicts.
//
// The source is drawn at run time. Another one:
//   bazel test //tests:markov_test --test_env=NEXTWORD_TEST_SEED=7
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"
#include "autograd/ops/loss.h"
#include "autograd/variable.h"
#include "configs/config.h"
#include "configs/validate.h"
#include "data/token_file.h"
#include "data/tokenizer.h"
#include "distributed/trained_model.h"
#include "distributed/trainer.h"
#include "gtest/gtest.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

constexpr int kStates = 32;
constexpr int kTrainTokens = 1700000, kHeldOutTokens = 300000;

constexpr char kConfig[] = R"(
  steps: 400
  model {
    layers: 1 hidden_size: 64 num_heads: 2 context_length: 64 mlp_size: 128
    position: ROPE norm: RMS_NORM activation: SWIGLU bias: false
    tied_embeddings: false
  }
  batch { micro_batch: 32 lanes: 2 }
  optimizer { learning_rate: 1e-2 weight_decay: 0.01 }
  schedule { kind: COSINE warmup_steps: 20 final_ratio: 0.01 }
  evaluation { every: 0 }
  log { every: 100 })";

uint64_t Seed() {
  uint64_t seed = 1;
  const char* const text = std::getenv("NEXTWORD_TEST_SEED");
  if (text != nullptr) NW_CHECK(absl::SimpleAtoi(text, &seed)) << text;
  return seed;
}

// A chain of kStates states: P(next | now) = table[now][next].
class MarkovSource {
 public:
  explicit MarkovSource(uint64_t seed) : engine_(seed) {
    for (auto& row : table_) {
      double sum = 0;
      // Exponential weights make a row uniform over all distributions.
      for (double& p : row) sum += p = -std::log(Uniform());
      for (double& p : row) p /= sum;
    }
  }

  std::vector<int32_t> Draw(int count) {
    std::vector<int32_t> tokens;
    int state = 0;
    for (int i = 0; i < count; ++i) {
      double rest = Uniform();
      int next = 0;
      while (next < kStates - 1 && (rest -= table_[state][next]) >= 0) ++next;
      tokens.push_back(state = next);
    }
    return tokens;
  }

  // Nats per token: the entropies of the rows, weighted by how often the chain
  // is in them in the long run.
  double Entropy() const {
    std::vector<double> weights(kStates, 1.0 / kStates);
    for (int i = 0; i < 1000; ++i) {
      std::vector<double> next(kStates);
      for (int from = 0; from < kStates; ++from) {
        for (int to = 0; to < kStates; ++to) {
          next[to] += weights[from] * table_[from][to];
        }
      }
      weights = next;
    }
    double entropy = 0;
    for (int from = 0; from < kStates; ++from) {
      for (double p : table_[from]) entropy -= weights[from] * p * std::log(p);
    }
    return entropy;
  }

 private:
  // In (0, 1).
  double Uniform() {
    return (static_cast<double>(engine_() >> 12) + 0.5) * 0x1p-52;
  }

  std::mt19937_64 engine_;
  double table_[kStates][kStates];
};

// The tokens as a file of the byte tokenizer, one document.
void WriteTokens(const std::string& path, const std::vector<int32_t>& tokens) {
  NW_CHECK_OK(WriteTokenFile(path, Tokenizer::Bytes().vocabulary(),
                             [&](TokenFileWriter& writer) {
                               return writer.AddDocument(tokens, tokens.size());
                             })
                  .status());
}

TrainedModel Train(const std::string& folder, uint64_t seed,
                   const std::vector<int32_t>& tokens) {
  WriteTestFile(folder + "/config.textproto", kConfig);
  WriteTokens(folder + "/train.tokens", tokens);
  NW_CHECK_OK(Tokenizer::Bytes().Save(folder + "/bytes.json"));
  const auto config = LoadTrainConfig(
      folder + "/config.textproto",
      {absl::StrCat("seed=", seed), absl::StrCat("run_dir=", folder, "/run"),
       absl::StrCat("data.tokens=", folder, "/train.tokens"),
       absl::StrCat("data.tokenizer=", folder, "/bytes.json")});
  NW_CHECK_OK(config.status());
  NW_CHECK_OK(ValidateTrainConfig(*config, ConfigUse::kTrain));
  const auto trainer = Trainer::Create(*config, "none", Alone());
  NW_CHECK_OK(trainer.status());
  NW_CHECK_OK((*trainer)->Run().status());
  auto trained = TrainedModel::Load(folder + "/run");
  NW_CHECK_OK(trained.status());
  return *std::move(trained);
}

struct Estimate {
  double mean, standard_error;
};

// The loss per token. Losses of different tokens are taken as independent: one
// tells of the next only through the state between them.
Estimate HeldOutLoss(const TrainedModel& trained,
                     const std::vector<int32_t>& tokens) {
  const NoGradScope no_grad;
  const int64_t length = trained.config.model().context_length();
  constexpr int64_t kRows = 64;
  double sum = 0, squares = 0;
  int64_t count = 0;
  for (size_t begin = 0; begin + kRows * length < tokens.size();
       begin += kRows * length) {
    const auto rows = [&](size_t from) {
      const auto first = tokens.begin() + static_cast<int64_t>(from);
      return FromVector(std::vector<int32_t>(first, first + kRows * length),
                        {kRows, length});
    };
    const Variable logits = trained.model->Forward(rows(begin));
    const Tensor losses = CrossEntropy(logits, rows(begin + 1)).value();
    for (float loss : ToVector<float>(losses)) {
      sum += loss;
      squares += static_cast<double>(loss) * loss;
      ++count;
    }
  }
  const double mean = sum / static_cast<double>(count);
  const double variance = squares / static_cast<double>(count) - mean * mean;
  return {mean, std::sqrt(variance / static_cast<double>(count))};
}

TEST(MarkovTest, HeldOutLossReachesTheEntropyAndNoLess) {
  const uint64_t seed = Seed();
  MarkovSource source(seed);
  const double entropy = source.Entropy();
  // Far from what knowing nothing, or the frequencies alone, would give.
  ASSERT_LT(entropy, std::log(kStates) - 0.2);
  const std::string folder = FreshDirectory("markov");
  const TrainedModel trained = Train(folder, seed, source.Draw(kTrainTokens));
  const Estimate loss = HeldOutLoss(trained, source.Draw(kHeldOutTokens));
  std::printf("seed %llu: entropy %.4f, held-out loss %.4f +- %.4f\n",
              static_cast<unsigned long long>(seed), entropy, loss.mean,
              loss.standard_error);
  EXPECT_LT(loss.mean, entropy + 0.02);
  EXPECT_GT(loss.mean, entropy - 3 * loss.standard_error);
}

}  // namespace
}  // namespace nextword

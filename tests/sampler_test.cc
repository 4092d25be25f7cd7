// Choosing tokens: what the options keep, and how often each comes.
#include "layers/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "tests/testing.h"

namespace nextword::layers {
namespace {

using ::testing::ElementsAre;

constexpr int kDraws = 20000;

// Logits of a distribution, shifted by what softmax ignores.
std::vector<float> LogitsOf(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (double p : probabilities) {
    logits.push_back(static_cast<float>(std::log(p) + 3));
  }
  return logits;
}

Tensor AsTensor(const std::vector<float>& logits) {
  return FromVector(logits, {static_cast<int64_t>(logits.size())});
}

// How often each id comes at positions 0, 1, ...
std::vector<int> Frequencies(const std::vector<float>& logits,
                             const SamplerOptions& options, int32_t limit = 0) {
  const Tensor tensor = AsTensor(logits);
  std::vector<int> counts(logits.size());
  for (int i = 0; i < kDraws; ++i) {
    ++counts[SampleToken(tensor, options, i, limit)];
  }
  return counts;
}

std::set<int32_t> Drawn(const std::vector<float>& logits,
                        const SamplerOptions& options, int32_t limit = 0) {
  const std::vector<int> counts = Frequencies(logits, options, limit);
  std::set<int32_t> ids;
  for (size_t id = 0; id < counts.size(); ++id) {
    if (counts[id] > 0) ids.insert(static_cast<int32_t>(id));
  }
  return ids;
}

// Pearson's statistic: about the number of ids, when they come as often as
// `probabilities`, which need not sum to 1, say.
double ChiSquare(const std::vector<int>& counts,
                 const std::vector<double>& probabilities) {
  double total = 0, statistic = 0;
  for (double p : probabilities) total += p;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = kDraws * probabilities[i] / total;
    if (expected == 0) {
      EXPECT_EQ(counts[i], 0) << "id " << i;
    } else {
      statistic += std::pow(counts[i] - expected, 2) / expected;
    }
  }
  return statistic;
}

const std::vector<double> kSkewed = {0.02, 0.3, 0.05, 0.25, 0.2, 0.08, 0.1};
// A right sampler stays below in 9,999 of 10,000 cases (6 degrees of freedom).
constexpr double kLargestChiSquare = 27.9;

TEST(SamplerTest, TokensComeAsOftenAsTheyShould) {
  for (const uint64_t seed : {0, 1, 2}) {
    const auto counts = Frequencies(LogitsOf(kSkewed), {.seed = seed});
    EXPECT_LT(ChiSquare(counts, kSkewed), kLargestChiSquare);
  }
  for (const double temperature : {0.5, 2.0}) {
    std::vector<double> tempered;
    for (double p : kSkewed) tempered.push_back(std::pow(p, 1 / temperature));
    const auto counts =
        Frequencies(LogitsOf(kSkewed), {.temperature = temperature});
    EXPECT_LT(ChiSquare(counts, tempered), kLargestChiSquare) << temperature;
    // The statistic can tell the two apart.
    EXPECT_GT(ChiSquare(counts, kSkewed), 10 * kLargestChiSquare);
  }
}

TEST(SamplerTest, WhatIsKeptKeepsItsProportions) {
  const auto top_k = Frequencies(LogitsOf(kSkewed), {.top_k = 3});
  EXPECT_LT(ChiSquare(top_k, {0, 0.3, 0, 0.25, 0.2, 0, 0}), kLargestChiSquare);
  const auto top_p = Frequencies(LogitsOf(kSkewed), {.top_p = 0.8});
  EXPECT_LT(ChiSquare(top_p, {0, 0.3, 0, 0.25, 0.2, 0, 0.1}),
            kLargestChiSquare);
  const auto limited = Frequencies(LogitsOf(kSkewed), {}, 4);
  EXPECT_LT(ChiSquare(limited, {0.02, 0.3, 0.05, 0.25, 0, 0, 0}),
            kLargestChiSquare);
}

TEST(SamplerTest, TemperatureZeroTakesTheBest) {
  EXPECT_THAT(Drawn(LogitsOf(kSkewed), {.temperature = 0}), ElementsAre(1));
  // The first of several.
  EXPECT_THAT(Drawn({1, 5, 5, 2}, {.temperature = 0}), ElementsAre(1));
  EXPECT_THAT(Drawn({1, 5, 5, 9}, {.temperature = 0}, 3), ElementsAre(1));
}

TEST(SamplerTest, TopKKeepsTheBest) {
  const std::vector<float> logits = LogitsOf(kSkewed);
  EXPECT_THAT(Drawn(logits, {.top_k = 1}), ElementsAre(1));
  EXPECT_THAT(Drawn(logits, {.top_k = 2}), ElementsAre(1, 3));
  EXPECT_THAT(Drawn({1, 1, 1, 1}, {.top_k = 2}), ElementsAre(0, 1));
  EXPECT_EQ(Drawn(logits, {.top_k = 0}).size(), logits.size());
  EXPECT_EQ(Drawn(logits, {.top_k = 100}).size(), logits.size());
}

TEST(SamplerTest, TopPKeepsTheFewestThatReachIt) {
  const std::vector<float> logits = LogitsOf({0.05, 0.5, 0.15, 0.3});
  EXPECT_THAT(Drawn(logits, {.top_p = 0.49}), ElementsAre(1));
  EXPECT_THAT(Drawn(logits, {.top_p = 0.51}), ElementsAre(1, 3));
  EXPECT_THAT(Drawn(logits, {.top_p = 0.79}), ElementsAre(1, 3));
  EXPECT_THAT(Drawn(logits, {.top_p = 0.81}), ElementsAre(1, 2, 3));
  EXPECT_EQ(Drawn(logits, {.top_p = 1}).size(), 4);
  // The best one always stays.
  EXPECT_THAT(Drawn(logits, {.top_p = 0}), ElementsAre(1));
  // Of what top_k left: 0.3 is below 0.6 * 0.8.
  EXPECT_THAT(Drawn(logits, {.top_k = 2, .top_p = 0.6}), ElementsAre(1));
}

// The ids that sorting keeps.
std::set<int32_t> KeptBySorting(const std::vector<float>& logits,
                                const SamplerOptions& options) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (options.top_k > 0 && options.top_k < static_cast<int>(ids.size())) {
    ids.resize(options.top_k);
  }
  double total = 0, kept = 0;
  const auto weight = [&](int32_t id) {
    return std::exp((double{logits[id]} - logits[ids[0]]) /
                    options.temperature);
  };
  for (int32_t id : ids) total += weight(id);
  std::set<int32_t> result;
  for (int32_t id : ids) {
    if (!result.empty() && kept >= options.top_p * total) break;
    kept += weight(id);
    result.insert(id);
  }
  return result;
}

// With scores of few values, so that many tie, and of both signs.
TEST(SamplerTest, KeepsWhatSortingKeeps) {
  for (const int64_t size : {1, 2, 33, 700}) {
    const Tensor random = RandomNormal({size}, 1, DType::kF32);
    std::vector<float> logits = ToVector<float>(random);
    for (float& x : logits) x = std::round(x * 20) / 20;
    for (const int32_t top_k : {0, 1, 7, 40}) {
      for (const double top_p : {0.0, 0.05, 0.3, 1.0}) {
        const SamplerOptions options{
            .temperature = 2, .top_k = top_k, .top_p = top_p};
        const std::set<int32_t> kept = KeptBySorting(logits, options);
        EXPECT_EQ(Drawn(logits, options), kept)
            << size << " " << top_k << " " << top_p;
      }
    }
  }
}

TEST(SamplerTest, LimitLeavesOutPadding) {
  EXPECT_THAT(Drawn({1, 2, 1, 50}, {}, 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(Drawn({1, 2, 1, 50}, {.top_k = 1}, 3), ElementsAre(1));
}

TEST(SamplerTest, SeedAndPositionDecide) {
  const Tensor logits = AsTensor(std::vector<float>(1000, 0.0f));
  const auto draw = [&](uint64_t seed, uint64_t position) {
    return SampleToken(logits, {.seed = seed}, position);
  };
  std::set<int32_t> seeds, positions;
  for (uint64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(draw(1, i), draw(1, i));
    seeds.insert(draw(i, 0));
    positions.insert(draw(0, i));
  }
  EXPECT_GT(seeds.size(), 15);
  EXPECT_GT(positions.size(), 15);
}

TEST(SamplerTest, ExtremeLogits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_THAT(Drawn({-kInfinity, 1, -kInfinity, 1}, {}), ElementsAre(1, 3));
  EXPECT_THAT(Drawn({3e38f, -3e38f, 3e38f}, {}), ElementsAre(0, 2));
  EXPECT_THAT(Drawn({-3e38f, -3e38f}, {}), ElementsAre(0, 1));
  EXPECT_THAT(Drawn({1, 2, 3}, {.temperature = 1e-30}), ElementsAre(2));
  EXPECT_EQ(Drawn({1, 2, 3}, {.temperature = 1e30}).size(), 3);
  EXPECT_THAT(Drawn({1, kInfinity, 1}, {}), ElementsAre(1));
  EXPECT_THAT(Drawn({-0.0f, 0.0f}, {.top_k = 1}), ElementsAre(0));
  // A diverged model's.
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Drawn({kNan, 1, -kNan, 1}, {}), ElementsAre(1, 3));
  EXPECT_THAT(Drawn({kNan, 1, 2}, {.temperature = 0}), ElementsAre(2));
  EXPECT_THAT(Drawn({kNan, kNan}, {.top_p = 0.5}), ElementsAre(0));
}

}  // namespace
}  // namespace nextword::layers

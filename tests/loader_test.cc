// The order of training, its windows, and evaluation windows.
#include "data/loader.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/evaluation_sequences.h"
#include "data/permutation.h"
#include "data/token_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kEnd = 999;
constexpr Vocabulary kVocabulary = {
    .fingerprint = 1, .size = 1000, .end_of_text = kEnd};

// Token files of documents of these lengths, holding 0, 1, 2, ... modulo 900,
// so that a token tells its place.
TokenStream MakeStream(const std::string& name,
                       const std::vector<std::vector<int>>& files) {
  const std::string directory = FreshDirectory(name);
  std::vector<std::string> paths;
  int next = 0;
  for (const std::vector<int>& documents : files) {
    paths.push_back(absl::StrCat(directory, "/", paths.size(), ".tokens"));
    const auto info =
        WriteTokenFile(paths.back(), kVocabulary, [&](TokenFileWriter& writer) {
          for (const int length : documents) {
            std::vector<int32_t> ids(length);
            for (int32_t& id : ids) id = next++ % 900;
            const absl::Status added = writer.AddDocument(ids, 2 * length);
            if (!added.ok()) return added;
          }
          return absl::OkStatus();
        });
    EXPECT_TRUE(info.ok()) << info.status();
  }
  return *TokenStream::Open(paths);
}

std::vector<int32_t> AllTokens(const TokenStream& stream) {
  std::vector<int32_t> tokens(stream.num_tokens());
  stream.Read(0, absl::MakeSpan(tokens));
  return tokens;
}

struct Sequence {
  explicit Sequence(int64_t length)
      : inputs(length), targets(length), documents(length) {}
  std::vector<int32_t> inputs, targets, documents;
};

Sequence GetSequence(const Loader& loader, uint64_t index) {
  Sequence s(loader.options().sequence_length);
  loader.Get(index, s.inputs.data(), s.targets.data(), s.documents.data());
  return s;
}

TEST(PermutationTest, IsAPermutation) {
  for (uint64_t size : {1, 2, 3, 4, 5, 15, 16, 17, 100, 1000, 4097}) {
    for (uint64_t key = 0; key < 10; ++key) {
      const Permutation permutation(size, key);
      std::set<uint64_t> seen;
      for (uint64_t i = 0; i < size; ++i) {
        ASSERT_LT(permutation(i), size);
        seen.insert(permutation(i));
      }
      ASSERT_EQ(seen.size(), size);
    }
  }
}

TEST(PermutationTest, TakesHugeSizes) {
  const Permutation permutation(uint64_t{1} << 62, 5);
  EXPECT_NE(permutation(0), permutation(1));
  const Permutation odd((uint64_t{1} << 61) + 1, 5);
  EXPECT_LT(odd(uint64_t{1} << 61), (uint64_t{1} << 61) + 1);
}

// Over many keys every index goes everywhere equally often: the chi-squared
// statistic of the n * n table stays near its degrees of freedom.
TEST(PermutationTest, LooksUniform) {
  for (const int size : {2, 5, 16, 37}) {
    constexpr int kKeys = 20000;
    std::vector<int> counts(size * size);
    for (int key = 0; key < kKeys; ++key) {
      const Permutation permutation(size, key);
      for (int i = 0; i < size; ++i) ++counts[i * size + permutation(i)];
    }
    const double expected = static_cast<double>(kKeys) / size;
    double chi_squared = 0;
    for (const int count : counts) {
      chi_squared += (count - expected) * (count - expected) / expected;
    }
    const double freedom = (size - 1) * (size - 1);
    EXPECT_LT(chi_squared, freedom + 5 * std::sqrt(2 * freedom)) << size;
  }
}

TEST(LoaderTest, EachEpochVisitsEachWindowOnce) {
  for (const int tokens : {8, 9, 14, 15, 16, 50, 333}) {
    const auto loader =
        Loader::Create(MakeStream("loader_epochs", {{tokens - 1}}),
                       {.sequence_length = 7, .seed = 3});
    ASSERT_TRUE(loader.ok()) << loader.status();
    const uint64_t n = loader->sequences_per_epoch();
    ASSERT_GE(n, 1);
    // At most one window is lost to the shift.
    ASSERT_GE(7 * (n + 2), static_cast<uint64_t>(tokens) - 1);
    for (uint64_t epoch = 0; epoch < 20; ++epoch) {
      std::vector<uint64_t> starts;
      for (uint64_t i = 0; i < n; ++i) {
        starts.push_back(loader->FirstToken(epoch * n + i));
      }
      std::sort(starts.begin(), starts.end());
      ASSERT_LT(starts[0], 7);
      ASSERT_LT(starts.back() + 7, static_cast<uint64_t>(tokens));
      for (uint64_t i = 1; i < n; ++i) {
        ASSERT_EQ(starts[i], starts[i - 1] + 7);
      }
    }
  }
}

TEST(LoaderTest, EpochsAndSeedsDiffer) {
  const std::vector<std::vector<int>> files = {{5000}};
  const auto order = [&](uint64_t seed, uint64_t epoch) {
    const auto loader = Loader::Create(MakeStream("loader_seeds", files),
                                       {.sequence_length = 10, .seed = seed});
    const uint64_t n = loader->sequences_per_epoch();
    std::vector<uint64_t> starts;
    for (uint64_t i = 0; i < n; ++i) {
      starts.push_back(loader->FirstToken(epoch * n + i));
    }
    return starts;
  };
  const auto windows = [](const std::vector<uint64_t>& starts) {
    std::vector<uint64_t> result;
    for (const uint64_t start : starts) result.push_back(start / 10);
    return result;
  };
  EXPECT_EQ(order(1, 0), order(1, 0));
  EXPECT_NE(windows(order(1, 0)), windows(order(1, 1)));
  EXPECT_NE(windows(order(1, 0)), windows(order(2, 0)));
  EXPECT_FALSE(std::is_sorted(order(1, 0).begin(), order(1, 0).end()));
  std::set<uint64_t> offsets;
  for (uint64_t epoch = 0; epoch < 40; ++epoch) {
    const std::vector<uint64_t> starts = order(1, epoch);
    offsets.insert(*std::min_element(starts.begin(), starts.end()));
  }
  EXPECT_GE(offsets.size(), 8);
  EXPECT_LT(*offsets.rbegin(), 10);
}

// A run that stops anywhere and goes on elsewhere, in batches of another size,
// sees what the uninterrupted run sees.
TEST(LoaderTest, ResumeEqualsUninterrupted) {
  const auto make = [] {
    return *Loader::Create(MakeStream("loader_resume", {{70, 90}, {101}}),
                           {.sequence_length = 8, .seed = 9});
  };
  constexpr int kSequences = 100;
  std::vector<int32_t> inputs(kSequences * 8), targets(inputs.size()),
      documents(inputs.size());
  make().GetBatch(0, kSequences, inputs.data(), targets.data(),
                  documents.data());
  for (const int stop : {0, 1, 13, 32, 99}) {
    uint64_t next_sequence = 0;
    std::vector<int32_t> seen;
    const auto step = [&](const Loader& loader, int count) {
      std::vector<int32_t> x(count * 8), y(count * 8);
      loader.GetBatch(next_sequence, count, x.data(), y.data());
      seen.insert(seen.end(), x.begin(), x.end());
      next_sequence += count;
    };
    step(make(), stop);
    const Loader resumed = make();
    while (next_sequence < kSequences) step(resumed, 1);
    ASSERT_EQ(seen, inputs) << "stopped at " << stop;
  }
}

TEST(LoaderTest, TargetsAreInputsShifted) {
  const TokenStream stream = MakeStream("loader_shift", {{30, 3}, {1}, {40}});
  const std::vector<int32_t> all = AllTokens(stream);
  const auto loader =
      Loader::Create(MakeStream("loader_shift", {{30, 3}, {1}, {40}}),
                     {.sequence_length = 5, .seed = 1});
  for (uint64_t i = 0; i < 3 * loader->sequences_per_epoch(); ++i) {
    const Sequence s = GetSequence(*loader, i);
    const uint64_t first = loader->FirstToken(i);
    for (int t = 0; t < 5; ++t) {
      ASSERT_EQ(s.inputs[t], all[first + t]);
      ASSERT_EQ(s.targets[t], all[first + t + 1]);
    }
  }
}

TEST(LoaderTest, DocumentsAreNumberedAndMasked) {
  // One window only: 0 1 E 2 E E 3 -> 4.
  const auto get = [](bool document_mask) {
    const auto loader =
        Loader::Create(MakeStream("loader_documents", {{2, 1, 0}, {1}}),
                       {.sequence_length = 7, .document_mask = document_mask});
    EXPECT_TRUE(loader.ok()) << loader.status();
    return GetSequence(*loader, 0);
  };
  const Sequence plain = get(false);
  EXPECT_THAT(plain.inputs, ElementsAre(0, 1, kEnd, 2, kEnd, kEnd, 3));
  EXPECT_THAT(plain.targets, ElementsAre(1, kEnd, 2, kEnd, kEnd, 3, kEnd));
  EXPECT_THAT(plain.documents, ElementsAre(0, 0, 0, 1, 1, 2, 3));
  const Sequence masked = get(true);
  EXPECT_EQ(masked.inputs, plain.inputs);
  EXPECT_EQ(masked.documents, plain.documents);
  EXPECT_THAT(masked.targets, ElementsAre(1, kEnd, -1, kEnd, -1, -1, kEnd));
}

TEST(LoaderTest, RefusesAStreamTooShort) {
  const auto create = [](int64_t length) {
    return Loader::Create(MakeStream("loader_short", {{4}, {3}}),
                          {.sequence_length = length});
  };
  EXPECT_TRUE(create(8).ok());
  const auto refused = create(9);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.status().message(), HasSubstr("sequence_length is 9"));
  EXPECT_THAT(refused.status().message(), HasSubstr("needs 10 tokens"));
  EXPECT_THAT(refused.status().message(), HasSubstr("have 9"));
  EXPECT_THAT(refused.status().message(), HasSubstr("0.tokens (5 tokens)"));
}

TEST(TokenStreamTest, RefusesFilesOfDifferentTokenizers) {
  const std::string directory = FreshDirectory("stream_mixed");
  std::vector<std::string> paths;
  for (const uint64_t fingerprint : {1, 2}) {
    paths.push_back(absl::StrCat(directory, "/", fingerprint));
    Vocabulary vocabulary = kVocabulary;
    vocabulary.fingerprint = fingerprint;
    ASSERT_TRUE(
        WriteTokenFile(paths.back(), vocabulary, [](TokenFileWriter& writer) {
          return writer.AddDocument({1, 2}, 2);
        }).ok());
  }
  const auto stream = TokenStream::Open(paths);
  ASSERT_FALSE(stream.ok());
  EXPECT_THAT(stream.status().message(), HasSubstr(paths[1]));
  EXPECT_FALSE(TokenStream::Open({}).ok());
  EXPECT_FALSE(TokenStream::Open({paths[0]}, Vocabulary{}).ok());
}

TEST(EvaluationSequencesTest, EveryTokenButTheFirstIsATargetOnce) {
  for (const int length : {1, 2, 5, 16, 99, 100, 101, 500}) {
    const auto sequences = EvaluationSequences::Create(
        MakeStream("evaluation", {{60}, {38}}), {.sequence_length = length});
    ASSERT_TRUE(sequences.ok()) << sequences.status();
    EXPECT_EQ(sequences->text_bytes(), 2 * 98);
    const std::vector<int32_t> all = AllTokens(sequences->stream());
    ASSERT_EQ(all.size(), 100);
    std::vector<int32_t> inputs, targets;
    for (uint64_t i = 0; i < sequences->size(); ++i) {
      Sequence s(length);
      sequences->Get(i, s.inputs.data(), s.targets.data(), s.documents.data());
      inputs.insert(inputs.end(), s.inputs.begin(), s.inputs.end());
      targets.insert(targets.end(), s.targets.begin(), s.targets.end());
    }
    const std::vector<int32_t> padding(targets.begin() + 99, targets.end());
    EXPECT_LT(padding.size(), length);
    EXPECT_THAT(padding, Each(kIgnoredTarget));
    targets.resize(99);
    inputs.resize(99);
    EXPECT_TRUE(std::equal(targets.begin(), targets.end(), all.begin() + 1));
    EXPECT_TRUE(std::equal(inputs.begin(), inputs.end(), all.begin()));
  }
}

TEST(EvaluationSequencesTest, MasksTheStartOfDocuments) {
  const auto sequences = EvaluationSequences::Create(
      MakeStream("evaluation_mask", {{1}, {1}}),
      {.sequence_length = 4, .document_mask = true});
  ASSERT_TRUE(sequences.ok());
  ASSERT_EQ(sequences->size(), 1);
  Sequence s(4);
  sequences->Get(0, s.inputs.data(), s.targets.data(), s.documents.data());
  EXPECT_THAT(s.inputs, ElementsAre(0, kEnd, 1, kEnd));
  EXPECT_THAT(s.targets, ElementsAre(kEnd, -1, kEnd, -1));
  EXPECT_THAT(s.documents, ElementsAre(0, 0, 1, 1));
}

TEST(EvaluationSequencesTest, RefusesNothingToPredict) {
  const auto sequences = EvaluationSequences::Create(
      MakeStream("evaluation_empty", {{0}}), {.sequence_length = 4});
  ASSERT_FALSE(sequences.ok());
  EXPECT_THAT(sequences.status().message(), HasSubstr("(1 tokens)"));
}

}  // namespace
}  // namespace nextword

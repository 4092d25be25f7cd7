// Parsers of files: what they make of every file in fuzz/corpus/, and that no
// mutation of one leads them astray.
#include <cstddef>
#include <cstdint>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "autograd/base/directory.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "gtest/gtest.h"
#include "tests/fuzz/file_fuzz.h"

namespace nextword {
namespace {

constexpr int kMutations = 2000;

struct Target {
  std::string name;
  FuzzResult (*drive)(absl::string_view input);
};

std::ostream& operator<<(std::ostream& out, const Target& target) {
  return out << target.name;
}

// The files of a target by name.
std::map<std::string, std::string> Corpus(const std::string& target) {
  const std::string folder = absl::StrCat("tests/fuzz/corpus/", target);
  const auto names = ListDirectory(folder);
  NW_CHECK_OK(names.status());
  std::map<std::string, std::string> files;
  for (const std::string& name : *names) {
    const auto bytes = ReadFile(absl::StrCat(folder, "/", name));
    NW_CHECK_OK(bytes.status());
    files[name] = *bytes;
  }
  return files;
}

// Changes bytes in a few places; `other` is where pieces are taken from.
class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  std::string Mutate(std::string bytes, const std::string& other) {
    const size_t rounds = 1 + Below(4);
    for (size_t i = 0; i < rounds; ++i) MutateOnce(&bytes, other);
    return bytes;
  }
  size_t Below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }

 private:
  void MutateOnce(std::string* bytes, const std::string& other) {
    static const std::vector<std::string> kTokens = {
        "-1",   "0",  "18446744073709551615",
        "1e99", "[[", "9223372036854775807",
        "}",    "\"", std::string(1, '\0'),
        "nan",  "\n", "\xff\xff\xff\xff\xff\xff\xff\xff"};
    const size_t at = Below(bytes->size() + 1);
    switch (Below(6)) {
      case 0:
        if (at < bytes->size()) (*bytes)[at] ^= 1 << Below(8);
        break;
      case 1:
        if (at < bytes->size()) (*bytes)[at] = static_cast<char>(random_());
        break;
      case 2:
        bytes->resize(at);
        break;
      case 3:
        bytes->erase(at, 1 + Below(16));
        break;
      case 4: {
        const size_t from = Below(other.size());
        bytes->replace(at, Below(64), other.substr(from, 1 + Below(64)));
        break;
      }
      case 5:
        bytes->insert(at, kTokens[Below(kTokens.size())]);
        break;
    }
  }

  std::mt19937_64 random_;
};

class FuzzCorpusTest : public testing::TestWithParam<Target> {};

// A file's name begins with what becomes of it.
TEST_P(FuzzCorpusTest, FilesAreWhatTheirNamesSay) {
  const std::map<FuzzResult, std::string> prefixes = {
      {FuzzResult::kRefused, "bad_"},
      {FuzzResult::kPartly, "partly_"},
      {FuzzResult::kAccepted, "good_"}};
  std::map<FuzzResult, int> counts;
  for (const auto& [name, bytes] : Corpus(GetParam().name)) {
    SCOPED_TRACE(name);
    EXPECT_LT(bytes.size(), 4096u);
    const FuzzResult result = GetParam().drive(bytes);
    EXPECT_TRUE(absl::StartsWith(name, prefixes.at(result)))
        << "is " << prefixes.at(result);
    ++counts[result];
  }
  EXPECT_GE(counts[FuzzResult::kAccepted], 2);
  EXPECT_GE(counts[FuzzResult::kPartly], 1);
  EXPECT_GE(counts[FuzzResult::kRefused], 5);
}

TEST_P(FuzzCorpusTest, MutationsKeepThePromises) {
  std::vector<std::string> files;
  for (const auto& [name, bytes] : Corpus(GetParam().name)) {
    files.push_back(bytes);
  }
  Mutator mutator(20261126);
  std::map<FuzzResult, int> counts;
  for (int i = 0; i < kMutations; ++i) {
    const std::string& one = files[i % files.size()];
    const std::string& other = files[mutator.Below(files.size())];
    ++counts[GetParam().drive(mutator.Mutate(one, other))];
  }
  // They get in, too, and are found out.
  EXPECT_GT(counts[FuzzResult::kAccepted] + counts[FuzzResult::kPartly], 30);
  EXPECT_GT(counts[FuzzResult::kRefused], 50);
}

std::string Repeat(absl::string_view text, int times) {
  std::string repeated;
  for (int i = 0; i < times; ++i) absl::StrAppend(&repeated, text);
  return repeated;
}

// A parser that calls itself for each level, or frees values so, would crash.
TEST_P(FuzzCorpusTest, NestingMayBeDeep) {
  constexpr int kLevels = 300'000;
  const std::string list = Repeat("[", kLevels) + Repeat("]", kLevels);
  const std::string unclosed = Repeat("{\"a\":", kLevels);
  for (const std::string& json :
       {list, unclosed, absl::StrCat("{\"a\":", list, "}"),
        absl::StrCat("{\"version\":", list, ",\"step\":", list, "}")}) {
    EXPECT_NE(GetParam().drive(json), FuzzResult::kAccepted);
    EXPECT_NE(GetParam().drive("12345678" + json), FuzzResult::kAccepted);
  }
  for (const std::string& text :
       {"x: " + list, "x " + Repeat("{a <", kLevels), Repeat("x{", kLevels),
        Repeat("model {", kLevels)}) {
    EXPECT_NE(GetParam().drive(text), FuzzResult::kAccepted);
  }
}

INSTANTIATE_TEST_SUITE_P(Parsers, FuzzCorpusTest,
                         testing::Values(Target{"config", DriveConfig},
                                         Target{"manifest", DriveManifest},
                                         Target{"metrics", DriveMetrics},
                                         Target{"safetensors",
                                                DriveSafetensors},
                                         Target{"token_file", DriveTokenFile},
                                         Target{"tokenizer", DriveTokenizer}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nextword

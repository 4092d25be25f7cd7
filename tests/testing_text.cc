#include "tests/testing_text.h"

#include <cctype>
#include <cmath>
#include <filesystem>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

constexpr int kWords = 2000;

// Standard distributions differ between libraries; this does not.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  uint64_t Below(uint64_t n) { return engine_() % n; }
  // Ranks from 0, frequency about 1 / (rank + 1): 1/x is log-uniform.
  uint64_t ZipfBelow(uint64_t n) {
    const double unit = static_cast<double>(engine_() >> 11) * 0x1p-53;
    return static_cast<uint64_t>(std::pow(static_cast<double>(n), unit)) - 1;
  }

 private:
  std::mt19937_64 engine_;
};

std::vector<std::string> RandomWords(Random* random) {
  static const std::vector<std::string> kSyllables = {
      "ba", "ce",  "di",   "fo", "gu",    "han", "jer", "kil", "lo",  "mun",
      "na", "per", "qui",  "ro", "sa",    "the", "ul",  "ver", "wi",  "ing",
      "ed", "ly",  "tion", "é",  "ström", "ß",   "ñor", "λόγ", "мир", "水"};
  std::vector<std::string> words(kWords);
  for (std::string& word : words) {
    const uint64_t syllables = 1 + random->Below(4);
    for (uint64_t i = 0; i < syllables; ++i) {
      absl::StrAppend(&word, kSyllables[random->ZipfBelow(kSyllables.size())]);
    }
  }
  return words;
}

std::string RandomWord(const std::vector<std::string>& words, Random* random) {
  if (random->Below(30) == 0) return absl::StrCat(random->Below(2000));
  std::string word = words[random->ZipfBelow(words.size())];
  if (random->Below(12) == 0) {
    word[0] =
        static_cast<char>(std::toupper(static_cast<unsigned char>(word[0])));
  }
  static const std::vector<std::string> kEndings = {"'s", "n't", "'ll", "'re",
                                                    "’s"};
  if (random->Below(25) == 0) {
    absl::StrAppend(&word, kEndings[random->Below(kEndings.size())]);
  }
  return word;
}

}  // namespace

std::string RandomText(uint64_t seed, size_t bytes) {
  Random random(seed);
  const std::vector<std::string> words = RandomWords(&random);
  static const std::vector<std::string> kAfter = {
      " ",  " ",   " ",  " ",     " ",  " ",  ", ",
      "; ", ".\n", ". ", "!\n\n", " (", "? “"};
  std::string text;
  while (text.size() < bytes) {
    absl::StrAppend(&text, RandomWord(words, &random),
                    kAfter[random.Below(kAfter.size())]);
  }
  absl::StrAppend(&text, "\n");
  return text;
}

std::string RandomFragments(uint64_t seed, size_t length) {
  static const std::vector<std::string> kFragments = {" ",
                                                      " ",
                                                      "\n",
                                                      "\t",
                                                      "\r\n",
                                                      "\u00a0",
                                                      "\u2003",
                                                      "a",
                                                      "B",
                                                      "é",
                                                      "水",
                                                      "'",
                                                      "'s",
                                                      "'ll",
                                                      "'t",
                                                      "1",
                                                      "42",
                                                      "٣",
                                                      ".",
                                                      "!",
                                                      "€",
                                                      "😀",
                                                      "e\u0301",
                                                      "<|",
                                                      "\xff",
                                                      "\x80",
                                                      "\xc3",
                                                      "\xe2\x82",
                                                      "\xed\xa0\x80",
                                                      "\xf4\x90\x80\x80",
                                                      std::string(1, '\0')};
  Random random(seed);
  std::string text;
  for (size_t i = 0; i < length; ++i) {
    absl::StrAppend(&text, kFragments[random.Below(kFragments.size())]);
  }
  return text;
}

std::string FreshDirectory(absl::string_view name) {
  const std::string directory = absl::StrCat(testing::TempDir(), "/", name);
  std::filesystem::remove_all(directory);
  NW_CHECK_OK(MakeDirectories(directory));
  return directory;
}

void WriteTestFile(const std::string& path, absl::string_view contents) {
  NW_CHECK_OK(WriteFileAtomically(path, contents));
}

}  // namespace nextword

#include "tools/commands/zipf_text.h"

#include <cmath>
#include <iterator>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"

namespace nextword {
namespace {

constexpr int kWords = 50000;

// Standard distributions differ between libraries; these do not.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  uint64_t Below(uint64_t n) { return engine_() % n; }

  // Rank r of n, from 0, with probability about 1 / (r + 1): a log-uniform
  // number has the density 1 / x.
  uint64_t ZipfBelow(uint64_t n) {
    const double unit = static_cast<double>(engine_() >> 11) * 0x1p-53;
    return static_cast<uint64_t>(std::pow(static_cast<double>(n), unit)) - 1;
  }

 private:
  std::mt19937_64 engine_;
};

std::string MakeWord(uint64_t syllables, Random* random) {
  static constexpr const char* kOnsets[] = {"th", "s", "r", "n", "t",  "l", "w",
                                            "m",  "d", "h", "c", "b",  "p", "f",
                                            "g",  "k", "v", "y", "st", "br"};
  static constexpr const char* kRhymes[] = {"e",  "a",  "o",   "in", "er", "on",
                                            "i",  "an", "ed",  "ou", "es", "al",
                                            "en", "it", "ing", "as", "ow", "u"};
  std::string word;
  for (uint64_t i = 0; i < syllables; ++i) {
    absl::StrAppend(&word, kOnsets[random->ZipfBelow(std::size(kOnsets))],
                    kRhymes[random->ZipfBelow(std::size(kRhymes))]);
  }
  return word;
}

}  // namespace

std::string ZipfText(uint64_t seed, int64_t bytes) {
  Random random(seed);
  std::vector<std::string> words;
  for (uint64_t i = 0; i < kWords; ++i) {
    // Frequent words are short.
    const uint64_t longest = 1 + (i > 20) + (i > 500) + (i > 5000);
    words.push_back(MakeWord(1 + random.Below(longest), &random));
  }
  static constexpr const char* kAfter[] = {" ", " ",  " ",  " ",   " ",  " ",
                                           " ", ", ", ". ", ".\n", "; ", "'s "};
  std::string text;
  text.reserve(static_cast<size_t>(bytes) + 32);
  while (static_cast<int64_t>(text.size()) < bytes) {
    std::string word = random.Below(40) == 0 ? absl::StrCat(random.Below(2000))
                                             : words[random.ZipfBelow(kWords)];
    if (random.Below(12) == 0 && word[0] >= 'a') word[0] -= 'a' - 'A';
    absl::StrAppend(&text, word, kAfter[random.Below(std::size(kAfter))]);
  }
  text += '\n';
  return text;
}

}  // namespace nextword

// Pieces, byte-pair encoding, its training and its file.
#include "data/tokenizer.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "autograd/base/file.h"
#include "autograd/base/parallel.h"
#include "data/bpe_trainer.h"
#include "data/pretokenizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Pieces(absl::string_view text) {
  std::vector<std::string> pieces;
  ForEachPiece(text,
               [&](absl::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

absl::StatusOr<Tokenizer> Train(absl::string_view text, int32_t vocab_size) {
  return TrainBpe({text}, {.vocab_size = vocab_size});
}

// What GPT-2's own pre-tokenizer makes of these.
TEST(PretokenizerTest, SplitsAsGpt2Does) {
  EXPECT_THAT(Pieces("Hello world"), ElementsAre("Hello", " world"));
  EXPECT_THAT(
      Pieces("I'll say it's don't'VE"),
      ElementsAre("I", "'ll", " say", " it", "'s", " don", "'t", "'", "VE"));
  EXPECT_THAT(Pieces("in 1984, x2"),
              ElementsAre("in", " 1984", ",", " x", "2"));
  EXPECT_THAT(Pieces("a   b \n\n c  "),
              ElementsAre("a", "  ", " b", " \n\n", " c", "  "));
  EXPECT_THAT(Pieces("\n\nNow"), ElementsAre("\n", "\n", "Now"));
  EXPECT_THAT(Pieces("\tx"), ElementsAre("\t", "x"));
  EXPECT_THAT(Pieces(" café №5 水は ٣"),
              ElementsAre(" café", " №", "5", " 水は", " ٣"));
  EXPECT_THAT(Pieces("?!... --"), ElementsAre("?!...", " --"));
  EXPECT_THAT(Pieces("a\u00a0b"), ElementsAre("a", "\u00a0", "b"));
  EXPECT_THAT(Pieces(""), ElementsAre());
}

TEST(PretokenizerTest, InvalidBytesArePiecesOfTheirOwn) {
  EXPECT_THAT(Pieces("ab\xff\xfe"
                     "cd"),
              ElementsAre("ab", "\xff", "\xfe", "cd"));
  EXPECT_THAT(Pieces("x \xc3"), ElementsAre("x", " ", "\xc3"));
  // A surrogate, an overlong slash, and beyond the last code point.
  EXPECT_EQ(Pieces("\xed\xa0\x80").size(), 3);
  EXPECT_EQ(Pieces("\xc0\xaf").size(), 2);
  EXPECT_EQ(Pieces("\xf4\x90\x80\x80").size(), 4);
  EXPECT_EQ(Pieces("\xf4\x8f\xbf\xbf").size(), 1);
}

TEST(PretokenizerTest, CuttingChangesNoPiece) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const std::string text = RandomFragments(seed, 200);
    const std::vector<std::string> whole = Pieces(text);
    EXPECT_EQ(absl::StrJoin(whole, ""), text);
    for (const size_t chunk : {1, 7, 50}) {
      std::vector<std::string> by_chunk;
      for (const absl::string_view part : CutAtPieces(text, chunk)) {
        for (std::string& piece : Pieces(part)) {
          by_chunk.push_back(std::move(piece));
        }
      }
      ASSERT_EQ(by_chunk, whole) << "seed " << seed << " chunk " << chunk;
    }
  }
}

TEST(PretokenizerTest, CutsProseIntoManyChunks) {
  const std::string text = RandomText(1, 100000);
  EXPECT_GT(CutAtPieces(text, 1000).size(), 90);
}

TEST(PretokenizerTest, TakesLongRuns) {
  for (const char* unit : {"a", " ", "\n", "7", "!", "é", "\xff"}) {
    std::string text;
    for (int i = 0; i < 3000000; ++i) text += unit;
    EXPECT_EQ(absl::StrJoin(Pieces(text), ""), text);
  }
}

// The rule as a definition: count all pairs anew before every merge.
std::vector<std::pair<std::string, std::string>> MergesByRecount(
    absl::string_view text, int merges) {
  std::vector<std::vector<std::string>> words;
  for (const std::string& piece : Pieces(text)) {
    words.emplace_back();
    for (const char byte : piece) words.back().emplace_back(1, byte);
  }
  std::vector<std::pair<std::string, std::string>> result;
  while (std::ssize(result) < merges) {
    std::map<std::pair<std::string, std::string>, int> counts;
    for (const auto& word : words) {
      for (size_t i = 1; i < word.size(); ++i) ++counts[{word[i - 1], word[i]}];
    }
    if (counts.empty()) break;
    auto best = counts.begin();
    for (auto it = counts.begin(); it != counts.end(); ++it) {
      if (it->second >= best->second) best = it;  // In order: ties go up.
    }
    result.push_back(best->first);
    for (auto& word : words) {
      for (size_t i = 0; i + 1 < word.size(); ++i) {
        if (std::pair(word[i], word[i + 1]) != best->first) continue;
        word[i] += word[i + 1];
        word.erase(word.begin() + i + 1);
      }
    }
  }
  return result;
}

std::vector<std::pair<std::string, std::string>> MergesAsText(
    const Tokenizer& tokenizer) {
  std::vector<std::pair<std::string, std::string>> result;
  for (const auto& [left, right] : tokenizer.merges()) {
    result.emplace_back(tokenizer.TokenBytes(left),
                        tokenizer.TokenBytes(right));
  }
  return result;
}

TEST(BpeTrainerTest, MergesAsByRecount) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::string text = RandomText(seed, 2000);
    const auto tokenizer = Train(text, 257 + 150);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    ASSERT_EQ(MergesAsText(*tokenizer), MergesByRecount(text, 150))
        << "seed " << seed;
  }
}

// Two letters make many ties and many runs, where pairs overlap.
TEST(BpeTrainerTest, MergesAsByRecountInRuns) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    std::string text;
    for (const char c : RandomFragments(seed, 120)) {
      text += c % 7 == 0 ? ' ' : c % 3 == 0 ? 'b' : 'a';
    }
    const auto expected = MergesByRecount(text, 1000);
    const auto tokenizer = Train(text, 257 + expected.size());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    ASSERT_EQ(MergesAsText(*tokenizer), expected) << "seed " << seed;
  }
}

TEST(BpeTrainerTest, TiesGoToTheGreaterPair) {
  const auto tokenizer = Train("ab cd\xff yz", 258);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(MergesAsText(*tokenizer), ElementsAre(std::pair("y", "z")));
}

TEST(BpeTrainerTest, SaysHowFarATextReaches) {
  const auto tokenizer = Train("abc abc", 300);
  ASSERT_FALSE(tokenizer.ok());
  // abc and _abc: three merges.
  EXPECT_THAT(tokenizer.status().message(), HasSubstr("300"));
  EXPECT_THAT(tokenizer.status().message(), HasSubstr("260 entries"));
  EXPECT_TRUE(Train("abc abc", 260).ok());
}

TEST(BpeTrainerTest, RefusesLessThanTheBytes) {
  const auto tokenizer = Train("abc abc", 256);
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_THAT(tokenizer.status().message(), HasSubstr("at least 257"));
}

TEST(BpeTrainerTest, DoesNotDependOnThreads) {
  const std::string text = RandomText(7, 3 << 20);
  SetNumThreads(1);
  const auto one = Train(text, 600);
  SetNumThreads(4);
  const auto four = Train(text, 600);
  SetNumThreads(0);
  ASSERT_TRUE(one.ok() && four.ok());
  EXPECT_EQ(one->merges(), four->merges());
  EXPECT_EQ(one->Encode(text), four->Encode(text));
}

// Merges are applied in order of training, each everywhere, left to right.
std::vector<int32_t> EncodeByDefinition(const Tokenizer& tokenizer,
                                        absl::string_view text) {
  std::vector<int32_t> all;
  for (const std::string& piece : Pieces(text)) {
    std::vector<int32_t> ids;
    for (const char byte : piece) ids.push_back(static_cast<uint8_t>(byte));
    for (size_t m = 0; m < tokenizer.merges().size(); ++m) {
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        if (std::pair(ids[i], ids[i + 1]) != tokenizer.merges()[m]) continue;
        ids[i] = 256 + m;
        ids.erase(ids.begin() + i + 1);
      }
    }
    all.insert(all.end(), ids.begin(), ids.end());
  }
  return all;
}

TEST(TokenizerTest, EncodesByDefinition) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const std::string text =
        RandomText(seed, 3000) + RandomFragments(seed, 500) +
        std::string(100 + seed, 'a') + std::string(50, ' ');
    const auto tokenizer = Train(text, 700);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    const std::string other = RandomText(seed, 9000) + "aaaaaaaaaaaaa";
    EXPECT_EQ(tokenizer->Encode(text), EncodeByDefinition(*tokenizer, text));
    EXPECT_EQ(tokenizer->Encode(other), EncodeByDefinition(*tokenizer, other));
  }
}

TEST(TokenizerTest, AnyBytesRoundTrip) {
  const auto trained = Train(RandomText(1, 20000), 500);
  ASSERT_TRUE(trained.ok());
  std::string all_bytes;
  for (int i = 0; i < 512; ++i) all_bytes += static_cast<char>(i * 7);
  for (const Tokenizer& tokenizer : {*trained, Tokenizer::Bytes()}) {
    EXPECT_EQ(*tokenizer.Decode(tokenizer.Encode(all_bytes)), all_bytes);
    EXPECT_EQ(*tokenizer.Decode(tokenizer.Encode("")), "");
    for (uint64_t seed = 0; seed < 50; ++seed) {
      const std::string text = RandomFragments(seed, 300);
      EXPECT_EQ(*tokenizer.Decode(tokenizer.Encode(text)), text);
    }
  }
}

TEST(TokenizerTest, BytesAreTheTrivialCase) {
  const Tokenizer bytes = Tokenizer::Bytes();
  EXPECT_EQ(bytes.vocab_size(), 257);
  EXPECT_EQ(bytes.end_of_text_id(), 256);
  EXPECT_THAT(bytes.Encode("Az\xff"), ElementsAre('A', 'z', 255));
  EXPECT_EQ(bytes.TokenBytes(256), kEndOfText);
  EXPECT_EQ(Train("", 257)->fingerprint(), bytes.fingerprint());
}

TEST(TokenizerTest, SpecialTokensAreParsedOnlyWhenAsked) {
  const auto tokenizer = Tokenizer::FromMerges(
      {{'a', 'b'}}, {"<|x|>", "<|endoftext|>", "<|x|><|y|>"});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(tokenizer->end_of_text_id(), 258);
  EXPECT_EQ(tokenizer->SpecialTokenId("<|x|>"), 257);
  EXPECT_EQ(tokenizer->SpecialTokenId("<|z|>"), std::nullopt);
  const std::string text = "ab<|endoftext|>ab<|x|><|y|><|x|>ab<|x|";
  EXPECT_THAT(tokenizer->Encode(text, SpecialTokens::kParse),
              ElementsAre(256, 258, 256, 259, 257, 256, '<', '|', 'x', '|'));
  const std::vector<int32_t> as_text = tokenizer->Encode(text);
  EXPECT_THAT(as_text, testing::Each(testing::Le(256)));
  EXPECT_EQ(*tokenizer->Decode(as_text), text);
  EXPECT_EQ(*tokenizer->Decode(tokenizer->Encode(text, SpecialTokens::kParse)),
            text);
}

TEST(TokenizerTest, DecodeNamesAnIdOutOfRange) {
  for (const int32_t id : {257, -1, 1 << 30}) {
    const auto text = Tokenizer::Bytes().Decode({65, id});
    ASSERT_FALSE(text.ok());
    EXPECT_THAT(text.status().message(), HasSubstr(absl::StrCat(id)));
    EXPECT_THAT(text.status().message(), HasSubstr("257"));
  }
}

TEST(TokenizerTest, RefusesBadMerges) {
  EXPECT_THAT(Tokenizer::FromMerges({{'a', 256}}).status().message(),
              HasSubstr("[0, 256)"));
  EXPECT_THAT(Tokenizer::FromMerges({{-1, 'a'}}).status().message(),
              HasSubstr("-1"));
  // a+bc and ab+c are the same token.
  EXPECT_THAT(
      Tokenizer::FromMerges({{'a', 'b'}, {'b', 'c'}, {'a', 257}, {256, 'c'}})
          .status()
          .message(),
      HasSubstr("merge 3 makes the same token as merge 2"));
  std::vector<Tokenizer::Merge> doubling = {{'a', 'a'}};
  for (int id = 256; id < 290; ++id) doubling.emplace_back(id, id);
  EXPECT_THAT(Tokenizer::FromMerges(doubling).status().message(),
              HasSubstr("64 MiB"));
}

TEST(TokenizerTest, RefusesBadSpecialTokens) {
  EXPECT_FALSE(Tokenizer::FromMerges({}, {}).ok());
  EXPECT_FALSE(Tokenizer::FromMerges({}, {"<|x|>"}).ok());
  EXPECT_FALSE(Tokenizer::FromMerges({}, {kEndOfText, ""}).ok());
  EXPECT_FALSE(Tokenizer::FromMerges({}, {kEndOfText, kEndOfText}).ok());
}

TEST(TokenizerTest, FingerprintTellsContentsApart) {
  const std::vector<uint64_t> fingerprints = {
      Tokenizer::Bytes().fingerprint(),
      Tokenizer::FromMerges({{'a', 'b'}})->fingerprint(),
      Tokenizer::FromMerges({{'a', 'c'}})->fingerprint(),
      Tokenizer::FromMerges({{'a', 'b'}, {'a', 'c'}})->fingerprint(),
      Tokenizer::FromMerges({}, {kEndOfText, "<|x|>"})->fingerprint(),
      Tokenizer::FromMerges({}, {"<|x|>", kEndOfText})->fingerprint()};
  for (size_t i = 0; i < fingerprints.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(fingerprints[i], fingerprints[j]);
  }
}

TEST(TokenizerFileTest, LoadsWhatWasSaved) {
  const std::string path = FreshDirectory("tokenizer_saved") + "/t.json";
  const std::string text = RandomText(3, 20000);
  const auto tokenizer = TrainBpe(
      {text}, {.vocab_size = 600, .special_tokens = {kEndOfText, "<|\"é|>"}});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ASSERT_TRUE(tokenizer->Save(path).ok());
  const auto loaded = Tokenizer::Load(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->vocabulary(), tokenizer->vocabulary());
  EXPECT_EQ(loaded->special_tokens(), tokenizer->special_tokens());
  EXPECT_EQ(loaded->Encode(text), tokenizer->Encode(text));
}

// Every truncation and every single changed byte is noticed, or harmless.
TEST(TokenizerFileTest, RefusesDamage) {
  const std::string path = FreshDirectory("tokenizer_damaged") + "/t.json";
  const auto tokenizer = Train(RandomText(3, 5000), 270);
  ASSERT_TRUE(tokenizer.ok());
  ASSERT_TRUE(tokenizer->Save(path).ok());
  const std::string good = *ReadFile(path);
  for (size_t size = 0; size + 2 < good.size(); ++size) {
    WriteTestFile(path, good.substr(0, size));
    ASSERT_FALSE(Tokenizer::Load(path).ok()) << "cut to " << size;
  }
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] ^= 1;
    WriteTestFile(path, bad);
    const auto loaded = Tokenizer::Load(path);
    if (loaded.ok()) {
      ASSERT_EQ(loaded->fingerprint(), tokenizer->fingerprint());
    } else {
      ASSERT_THAT(loaded.status().message(), HasSubstr(path));
    }
  }
}

TEST(TokenizerFileTest, SaysWhatIsWrong) {
  const std::string path = FreshDirectory("tokenizer_wrong") + "/t.json";
  ASSERT_TRUE(Tokenizer::FromMerges({{'a', 'b'}})->Save(path).ok());
  const std::string good = *ReadFile(path);
  const auto error = [&](absl::string_view from, absl::string_view to) {
    WriteTestFile(path, absl::StrReplaceAll(good, {{from, to}}));
    return std::string(Tokenizer::Load(path).status().message());
  };
  EXPECT_THAT(error("\"version\":1", "\"version\":2"), HasSubstr("version 2"));
  EXPECT_THAT(error("nextword tokenizer", "other"), HasSubstr("other"));
  EXPECT_THAT(error("[97,98]", "[97,99]"), HasSubstr("damaged or edited"));
  EXPECT_THAT(error("[97,98]", "[97,300]"), HasSubstr("300"));
  EXPECT_THAT(error("258", "259"), HasSubstr("vocabulary of 259, has 258"));
  EXPECT_THAT(error("\"merges\"", "\"x\""), HasSubstr("merges"));
  for (const std::string merge :
       {"\"ab\"", "[97]", "[97,98,99]", "[97.5,98]", "[97,4294967394]",
        "[97,1e300]", "[true,98]", "[[97],98]"}) {
    EXPECT_THAT(error("[97,98]", merge),
                HasSubstr("merge 0 is no pair of ids"));
  }
  for (const std::string version :
       {"1.5", "true", "\"1\"", "4294967297", "1e300", "[1]"}) {
    EXPECT_THAT(error("\"version\":1", "\"version\":" + version),
                HasSubstr("version is no integer of 32 bits"));
  }
  EXPECT_THAT(error("258", "258.0"), HasSubstr("vocab_size is no integer"));
  EXPECT_THAT(error(good, "[]"), HasSubstr("is no tokenizer"));
  EXPECT_THAT(Tokenizer::Load(path + "x").status().message(),
              HasSubstr(path + "x"));
}

// Nor does a value that is nested deeply overflow the stack.
TEST(TokenizerFileTest, IgnoresFieldsItDoesNotKnow) {
  const std::string path = FreshDirectory("tokenizer_nested") + "/t.json";
  ASSERT_TRUE(Tokenizer::FromMerges({{'a', 'b'}})->Save(path).ok());
  constexpr size_t kLevels = 500'000;
  const std::string nested = absl::StrCat("{\"x\":", std::string(kLevels, '['),
                                          std::string(kLevels, ']'), ",");
  WriteTestFile(path, absl::StrCat(nested, ReadFile(path)->substr(1)));
  const auto loaded = Tokenizer::Load(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->merges().size(), 1u);
}

}  // namespace
}  // namespace nextword

// From text files to token files: patterns, split, and when to make them anew.
#include "data/corpus.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/base/file.h"
#include "data/file_pattern.h"
#include "data/split.h"
#include "data/token_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(FilePatternTest, StarStandsForAnyText) {
  EXPECT_TRUE(MatchesPattern("a.txt", "*.txt"));
  EXPECT_TRUE(MatchesPattern(".txt", "*.txt"));
  EXPECT_TRUE(MatchesPattern("abcabd", "*ab*d"));
  EXPECT_TRUE(MatchesPattern("aab", "*ab"));
  EXPECT_TRUE(MatchesPattern("x", "**"));
  EXPECT_TRUE(MatchesPattern("", "*"));
  EXPECT_FALSE(MatchesPattern("a.txt2", "*.txt"));
  EXPECT_FALSE(MatchesPattern("abc", "a*b"));
  EXPECT_FALSE(MatchesPattern("atxt", "a?xt"));
  // Exponential for those who try all ways to place the stars.
  EXPECT_FALSE(MatchesPattern(std::string(5000, 'a'),
                              "a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"));
}

TEST(FilePatternTest, ExpandsInNameOrderAndCountsFilesOnce) {
  const std::string folder = FreshDirectory("patterns");
  for (const char* name : {"b.txt", "a10.txt", "a2.txt", "c.md", ".h.txt"}) {
    WriteTestFile(absl::StrCat(folder, "/", name), "x");
  }
  const auto files =
      ExpandPatterns({folder + "/c.md", folder + "/*.txt", folder + "/./a*"});
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_THAT(*files, ElementsAre(folder + "/c.md", folder + "/a10.txt",
                                  folder + "/a2.txt", folder + "/b.txt"));
  EXPECT_THAT(ExpandPatterns({folder + "/*.x"}).status().message(),
              HasSubstr(folder + "/*.x: matches no file"));
  EXPECT_THAT(ExpandPatterns({folder + "*/a"}).status().message(),
              HasSubstr("last part"));
  EXPECT_THAT(ExpandPatterns({folder + "/none/*"}).status().message(),
              HasSubstr(folder + "/none"));
}

std::vector<std::string> Strings(const std::vector<absl::string_view>& views) {
  return {views.begin(), views.end()};
}

TEST(SplitTest, HoldsOutWholeDocumentsFromTheEnd) {
  const auto split = SplitDocuments({"aaaa\n", "bb\n", "cc"}, 0.3);
  ASSERT_TRUE(split.ok()) << split.status();
  // 3 of 10 bytes are wanted: cc is not enough.
  EXPECT_THAT(Strings(split->training), ElementsAre("aaaa\n"));
  EXPECT_THAT(Strings(split->held_out), ElementsAre("bb\n", "cc"));
  EXPECT_THAT(Strings(SplitDocuments({"aaaa\n", "bb\n", "cc"}, 0.2)->held_out),
              ElementsAre("cc"));
  EXPECT_TRUE(SplitDocuments({"aaaa\n"}, 0)->held_out.empty());
}

TEST(SplitTest, CutsTheFirstDocumentAtALineEnd) {
  const auto split = SplitDocuments({"one\ntwo\nthree\nfour\n"}, 0.4);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(Strings(split->training), ElementsAre("one\ntwo\n"));
  EXPECT_THAT(Strings(split->held_out), ElementsAre("three\nfour\n"));
  // More than all lines but the first: the first line stays.
  EXPECT_THAT(Strings(SplitDocuments({"one\ntwo\n"}, 0.9)->held_out),
              ElementsAre("two\n"));
  const auto two = SplitDocuments({"one\ntwo\n", "x"}, 0.4);
  EXPECT_THAT(Strings(two->training), ElementsAre("one\n"));
  EXPECT_THAT(Strings(two->held_out), ElementsAre("two\n", "x"));
  EXPECT_THAT(SplitDocuments({"one line\n"}, 0.5).status().message(),
              HasSubstr("line end"));
}

TEST(SplitTest, LosesNothingAndReachesTheFraction) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const std::string text = RandomText(seed, 4000);
    const auto split = SplitDocuments({text}, 0.1);
    ASSERT_TRUE(split.ok());
    ASSERT_EQ(absl::StrCat(split->training[0], split->held_out[0]), text);
    ASSERT_EQ(split->training[0].back(), '\n');
    ASSERT_GE(split->held_out[0].size(), text.size() / 10);
  }
}

// A corpus of a few small files in a folder of its own.
class CorpusTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = FreshDirectory(absl::StrCat(
        "corpus_",
        testing::UnitTest::GetInstance()->current_test_info()->name()));
    for (int i = 0; i < 4; ++i) Write(absl::StrCat(i, ".txt"), 10 + i);
    options_ = {.sources = {folder_ + "/*.txt"},
                .held_out_fraction = 0.25,
                .tokenizer_vocab_size = 300,
                .cache_dir = folder_ + "/cache/deep"};
  }

  std::string Path(absl::string_view name) const {
    return absl::StrCat(folder_, "/", name);
  }
  void Write(absl::string_view name, uint64_t seed) const {
    WriteTestFile(Path(name), RandomText(seed, 3000));
  }
  std::string Cached(absl::string_view name) const {
    return absl::StrCat(options_.cache_dir, "/", name);
  }

  // Prepares; says "made", "reused" or the error.
  std::string Prepare() const {
    const auto corpus = PrepareCorpus(options_);
    if (!corpus.ok()) return std::string(corpus.status().message());
    return corpus->reused ? "reused" : "made";
  }

  // All text of a token file, ends of documents included.
  static std::string TextOf(const PreparedCorpus& corpus,
                            const std::string& path) {
    const auto file = TokenFile::Open(path, corpus.tokenizer.vocabulary());
    EXPECT_TRUE(file.ok()) << file.status();
    EXPECT_TRUE(file->VerifyContents().ok());
    std::vector<int32_t> ids(file->num_tokens());
    file->Read(0, absl::MakeSpan(ids));
    return *corpus.tokenizer.Decode(ids);
  }

  std::string folder_;
  CorpusOptions options_;
};

TEST_F(CorpusTest, MakesTokenFilesOfTheText) {
  const auto corpus = PrepareCorpus(options_);
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  EXPECT_FALSE(corpus->reused);
  EXPECT_EQ(corpus->tokenizer.vocab_size(), 300);
  EXPECT_EQ(Tokenizer::Load(corpus->tokenizer_path)->fingerprint(),
            corpus->tokenizer.fingerprint());
  std::string training;
  for (const char* name : {"0.txt", "1.txt", "2.txt"}) {
    absl::StrAppend(&training, *ReadFile(Path(name)), kEndOfText);
  }
  EXPECT_EQ(TextOf(*corpus, corpus->train_tokens), training);
  EXPECT_EQ(TextOf(*corpus, corpus->held_out_tokens),
            *ReadFile(Path("3.txt")) + kEndOfText);
}

TEST_F(CorpusTest, HeldOutSourcesLeaveTheSources) {
  fs::create_symlink(Path("1.txt"), Path("link"));
  options_.held_out_sources = {Path("link")};
  const auto corpus = PrepareCorpus(options_);
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  EXPECT_EQ(TextOf(*corpus, corpus->held_out_tokens),
            *ReadFile(Path("1.txt")) + kEndOfText);
  std::string training;
  for (const char* name : {"0.txt", "2.txt", "3.txt"}) {
    absl::StrAppend(&training, *ReadFile(Path(name)), kEndOfText);
  }
  EXPECT_EQ(TextOf(*corpus, corpus->train_tokens), training);
}

TEST_F(CorpusTest, TheTokenizerNeverSeesHeldOutText) {
  const auto before = PrepareCorpus(options_);
  Write("3.txt", 99);
  const auto after = PrepareCorpus(options_);
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_FALSE(after->reused);
  EXPECT_EQ(before->tokenizer.fingerprint(), after->tokenizer.fingerprint());
  Write("0.txt", 98);
  EXPECT_NE(PrepareCorpus(options_)->tokenizer.fingerprint(),
            before->tokenizer.fingerprint());
}

TEST_F(CorpusTest, HoldsOutNothingWhenAsked) {
  EXPECT_EQ(Prepare(), "made");
  options_.held_out_fraction = 0;
  const auto corpus = PrepareCorpus(options_);
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  EXPECT_FALSE(corpus->reused);
  EXPECT_EQ(corpus->held_out_tokens, "");
  EXPECT_FALSE(fs::exists(Cached("held_out.tokens")));
  EXPECT_EQ(Prepare(), "reused");
}

TEST_F(CorpusTest, TakesAGivenTokenizer) {
  options_.tokenizer = Path("bytes.json");
  ASSERT_TRUE(Tokenizer::Bytes().Save(options_.tokenizer).ok());
  const auto corpus = PrepareCorpus(options_);
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  EXPECT_EQ(corpus->tokenizer_path, options_.tokenizer);
  EXPECT_EQ(corpus->tokenizer.vocab_size(), 257);
  options_.tokenizer_vocab_size = 4096;  // Without effect.
  EXPECT_EQ(Prepare(), "reused");
  ASSERT_TRUE(
      Tokenizer::FromMerges({{'a', 'b'}})->Save(options_.tokenizer).ok());
  EXPECT_EQ(Prepare(), "made");
}

TEST_F(CorpusTest, ReusesWhatIsUpToDate) {
  EXPECT_EQ(Prepare(), "made");
  // The fastest of several: the machine may have other things to do.
  auto fastest = std::chrono::steady_clock::duration::max();
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(Prepare(), "reused");
    fastest = std::min(fastest, std::chrono::steady_clock::now() - start);
  }
  EXPECT_LT(fastest, std::chrono::milliseconds(100));
}

TEST_F(CorpusTest, MakesAnewWhatChanged) {
  EXPECT_EQ(Prepare(), "made");
  Write("0.txt", 77);
  EXPECT_EQ(Prepare(), "made");
  Write("4.txt", 78);
  EXPECT_EQ(Prepare(), "made");
  fs::remove(Path("0.txt"));
  EXPECT_EQ(Prepare(), "made");
  options_.tokenizer_vocab_size = 301;
  EXPECT_EQ(Prepare(), "made");
  options_.held_out_fraction = 0.26;
  EXPECT_EQ(Prepare(), "made");
  options_.held_out_sources = {Path("1.txt")};
  EXPECT_EQ(Prepare(), "made");
  EXPECT_EQ(Prepare(), "reused");
}

TEST_F(CorpusTest, ANewTimeAloneChangesNothing) {
  EXPECT_EQ(Prepare(), "made");
  const auto later = fs::file_time_type::clock::now() + std::chrono::hours(1);
  fs::last_write_time(Path("0.txt"), later);
  EXPECT_EQ(Prepare(), "reused");
  // The new time is on record: contents of this size are not read again, and a
  // change that keeps time and size goes unseen.
  std::string text = *ReadFile(Path("0.txt"));
  std::swap(text[0], text[1]);
  WriteTestFile(Path("0.txt"), text);
  fs::last_write_time(Path("0.txt"), later);
  EXPECT_EQ(Prepare(), "reused");
  fs::last_write_time(Path("0.txt"), later + std::chrono::seconds(1));
  EXPECT_EQ(Prepare(), "made");
}

TEST_F(CorpusTest, MakesAnewWhatIsDamagedOrMissing) {
  for (const char* name :
       {"tokenizer.json", "train.tokens", "held_out.tokens", "corpus.json"}) {
    Prepare();
    const std::string good = *ReadFile(Cached(name));
    WriteTestFile(Cached(name), good.substr(0, good.size() / 2));
    EXPECT_EQ(Prepare(), "made") << name;
    EXPECT_EQ(*ReadFile(Cached(name)), good);
    fs::remove(Cached(name));
    EXPECT_EQ(Prepare(), "made") << name;
    EXPECT_EQ(*ReadFile(Cached(name)), good);
  }
  fs::copy_file(Cached("held_out.tokens"), Cached("train.tokens"),
                fs::copy_options::overwrite_existing);
  EXPECT_EQ(Prepare(), "made");
}

// As deep as a crash, if reading went down into it.
TEST_F(CorpusTest, ARecordThatIsNestedDeeplyIsNone) {
  EXPECT_EQ(Prepare(), "made");
  WriteTestFile(Cached("corpus.json"),
                absl::StrCat("{\"x\":", std::string(500'000, '['),
                             std::string(500'000, ']'), ",\"y\":1}"));
  EXPECT_EQ(Prepare(), "made");
  EXPECT_EQ(Prepare(), "reused");
}

TEST_F(CorpusTest, AFailedPreparationIsNotTakenForComplete) {
  EXPECT_EQ(Prepare(), "made");
  // The held-out tokens cannot be written: a folder is in their place.
  fs::remove(Cached("held_out.tokens"));
  fs::create_directory(Cached("held_out.tokens"));
  Write("0.txt", 55);
  EXPECT_THAT(Prepare(), HasSubstr("held_out.tokens"));
  EXPECT_FALSE(fs::exists(Cached("corpus.json")));
  fs::remove(Cached("held_out.tokens"));
  EXPECT_EQ(Prepare(), "made");
}

TEST_F(CorpusTest, ProcessesWaitForEachOther) {
  std::atomic<int> made = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { made += Prepare() == "made" ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, 1);
}

TEST_F(CorpusTest, RefusesBadInput) {
  const CorpusOptions good = options_;
  const auto error = [&](auto change) {
    options_ = good;
    change(options_);
    return Prepare();
  };
  WriteTestFile(Path("empty"), "");
  using O = CorpusOptions;
  EXPECT_THAT(error([&](O& o) { o.sources = {Path("none")}; }),
              HasSubstr(Path("none")));
  EXPECT_THAT(error([&](O& o) { o.sources = {Path("empty")}; }),
              HasSubstr(Path("empty") + ": is empty"));
  EXPECT_THAT(error([&](O& o) { o.sources = {folder_}; }),
              HasSubstr(folder_ + ": is not a regular file"));
  EXPECT_THAT(error([&](O& o) { o.sources = {"/dev/zero"}; }),
              HasSubstr("/dev/zero: is not a regular file"));
  EXPECT_THAT(error([&](O& o) { o.sources = {Path("*.none")}; }),
              HasSubstr("matches no file"));
  EXPECT_THAT(error([&](O& o) { o.sources = {}; }), HasSubstr("source"));
  EXPECT_THAT(error([&](O& o) { o.cache_dir = ""; }), HasSubstr("cache_dir"));
  EXPECT_THAT(error([&](O& o) { o.held_out_sources = o.sources; }),
              HasSubstr("none is left"));
  EXPECT_THAT(error([&](O& o) { o.held_out_fraction = 1; }),
              HasSubstr("held_out_fraction: is 1"));
  EXPECT_THAT(error([&](O& o) { o.tokenizer = Path("0.txt"); }),
              HasSubstr(Path("0.txt") + ": is no tokenizer"));
  EXPECT_THAT(error([&](O& o) { o.tokenizer_vocab_size = 100; }),
              HasSubstr("tokenizer_vocab_size: vocab_size is 100"));
  EXPECT_THAT(error([&](O& o) { o.tokenizer_vocab_size = 1 << 20; }),
              HasSubstr("entries only"));
  EXPECT_THAT(error([&](O& o) { o.cache_dir = Path("0.txt"); }),
              HasSubstr(Path("0.txt")));
}

}  // namespace
}  // namespace nextword

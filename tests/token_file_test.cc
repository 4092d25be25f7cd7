// Token files: what was written comes back, and damage never does.
#include "data/token_file.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/hash.h"
#include "autograd/base/status.h"
#include "data/bpe_trainer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Vocabulary kSmall = {
    .fingerprint = 0xabc, .size = 50, .end_of_text = 7};
// More than two bytes can hold.
constexpr Vocabulary kLarge = {
    .fingerprint = 0xdef, .size = 65538, .end_of_text = 65536};

absl::StatusOr<TokenFileInfo> Write(
    const std::string& path, const Vocabulary& vocabulary,
    const std::vector<std::vector<int32_t>>& documents) {
  return WriteTokenFile(path, vocabulary, [&](TokenFileWriter& writer) {
    for (const std::vector<int32_t>& ids : documents) {
      const absl::Status added = writer.AddDocument(ids, 3 * ids.size());
      if (!added.ok()) return added;
    }
    return absl::OkStatus();
  });
}

std::vector<int32_t> ReadAll(const TokenFile& file) {
  std::vector<int32_t> ids(file.num_tokens());
  file.Read(0, absl::MakeSpan(ids));
  return ids;
}

// Opening and verifying `path`: the error of the first that fails.
absl::Status OpenAndVerify(const std::string& path) {
  const auto file = TokenFile::Open(path);
  return file.ok() ? file->VerifyContents() : file.status();
}

TEST(TokenFileTest, ReadsWhatWasWritten) {
  const std::string directory = FreshDirectory("token_file");
  for (const Vocabulary& vocabulary : {kSmall, kLarge}) {
    const std::string path = absl::StrCat(directory, "/", vocabulary.size);
    const int32_t last = vocabulary.size - 1;
    const int32_t end = vocabulary.end_of_text;
    ASSERT_TRUE(Write(path, vocabulary, {{1, 2, last}, {}, {0}}).ok());
    const auto file = TokenFile::Open(path, vocabulary);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_THAT(ReadAll(*file), ElementsAre(1, 2, last, end, end, 0, end));
    EXPECT_EQ(file->info().num_documents, 3);
    EXPECT_EQ(file->info().text_bytes, 12);
    EXPECT_EQ(file->info().token_bytes, vocabulary.size > 65536 ? 4 : 2);
    EXPECT_EQ(file->info().vocabulary, vocabulary);
    EXPECT_TRUE(file->VerifyContents().ok());
    std::vector<int32_t> middle(2);
    file->Read(4, absl::MakeSpan(middle));
    EXPECT_THAT(middle, ElementsAre(end, 0));
  }
}

TEST(TokenFileTest, HoldsTheTextOfATokenizer) {
  const std::string path = FreshDirectory("token_file_text") + "/x.tokens";
  const std::string text = RandomText(5, 300000);
  const auto tokenizer = TrainBpe({text}, {.vocab_size = 500});
  ASSERT_TRUE(tokenizer.ok());
  const auto info = WriteTokenFile(
      path, tokenizer->vocabulary(), [&](TokenFileWriter& writer) {
        return writer.AddDocument(*tokenizer, text);
      });
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->text_bytes, text.size());
  const auto file = TokenFile::Open(path, tokenizer->vocabulary());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*tokenizer->Decode(ReadAll(*file)), text + kEndOfText);
}

TEST(TokenFileTest, RefusesAnotherTokenizerWithBothValues) {
  const std::string path = FreshDirectory("token_file_other") + "/x.tokens";
  ASSERT_TRUE(Write(path, kSmall, {{1}}).ok());
  const auto file = TokenFile::Open(path, kLarge);
  ASSERT_FALSE(file.ok());
  for (const char* part :
       {path.c_str(), "0000000000000abc", "0000000000000def", "50", "65538"}) {
    EXPECT_THAT(file.status().message(), HasSubstr(part));
  }
}

TEST(TokenFileTest, RefusesIdsOutOfRangeAndWritesNothing) {
  const std::string path = FreshDirectory("token_file_range") + "/x.tokens";
  for (const int32_t id : {50, -1}) {
    const auto written = Write(path, kSmall, {{1, id}});
    ASSERT_FALSE(written.ok());
    EXPECT_THAT(written.status().message(), HasSubstr(absl::StrCat(id)));
    EXPECT_THAT(written.status().message(), HasSubstr("50"));
  }
  EXPECT_FALSE(Write(path, kSmall, {}).ok());
  EXPECT_FALSE(Write(path, kSmall, {{1, kSmall.end_of_text}}).ok());
  EXPECT_EQ(TokenFile::Open(path).status().code(), absl::StatusCode::kNotFound);
}

TEST(TokenFileTest, RefusesEveryTruncationAndEveryFlippedBit) {
  const std::string path = FreshDirectory("token_file_damage") + "/x.tokens";
  ASSERT_TRUE(Write(path, kSmall, {{1, 2, 3}, {4}}).ok());
  const std::string good = *ReadFile(path);
  for (size_t size = 0; size < good.size(); ++size) {
    WriteTestFile(path, good.substr(0, size));
    ASSERT_FALSE(TokenFile::Open(path).ok()) << "cut to " << size;
  }
  WriteTestFile(path, good + std::string(2, '\0'));
  EXPECT_THAT(TokenFile::Open(path).status().message(),
              HasSubstr("14 bytes of ids, wanted 6 ids of 2 bytes"));
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string bad = good;
    bad[bit / 8] ^= static_cast<char>(1 << bit % 8);
    WriteTestFile(path, bad);
    const absl::Status status = OpenAndVerify(path);
    ASSERT_FALSE(status.ok()) << "bit " << bit;
    ASSERT_THAT(status.message(), HasSubstr(path));
  }
  WriteTestFile(path, good);
  EXPECT_TRUE(OpenAndVerify(path).ok());
}

TEST(TokenFileTest, SaysWhatIsNoTokenFile) {
  const std::string directory = FreshDirectory("token_file_not");
  const std::string path = directory + "/x.tokens";
  WriteTestFile(path, RandomText(1, 500));
  EXPECT_THAT(TokenFile::Open(path).status().message(),
              HasSubstr("is not a token file"));
  EXPECT_THAT(TokenFile::Open(directory).status().message(),
              HasSubstr(directory));
}

// The error of verifying a file of one document whose four ids were replaced,
// and whose checksums are right.
std::string ErrorOfForged(const std::string& path,
                          const std::vector<uint16_t>& ids) {
  NW_CHECK_OK(Write(path, kSmall, {{1, 2, 3}}).status());
  std::string bytes = *ReadFile(path);
  constexpr size_t kPayload = 128, kPayloadChecksum = 56, kHeaderChecksum = 120;
  bytes.replace(kPayload, 8, reinterpret_cast<const char*>(ids.data()), 8);
  const auto put = [&](size_t at, uint64_t value) {
    bytes.replace(at, sizeof(value), reinterpret_cast<const char*>(&value),
                  sizeof(value));
  };
  put(kPayloadChecksum, Hash64(absl::string_view(bytes).substr(kPayload)));
  put(kHeaderChecksum,
      Hash64(absl::string_view(bytes).substr(0, kHeaderChecksum)));
  WriteTestFile(path, bytes);
  const auto file = TokenFile::Open(path);
  NW_CHECK_OK(file.status());
  return std::string(file->VerifyContents().message());
}

TEST(TokenFileTest, VerifyFindsIdsThatAreWrong) {
  const std::string path = FreshDirectory("token_file_ids") + "/x.tokens";
  EXPECT_EQ(ErrorOfForged(path, {1, 9, 3, 7}), "");
  EXPECT_THAT(ErrorOfForged(path, {1, 60, 3, 7}),
              HasSubstr("token 1 has id 60, outside the vocabulary of 50"));
  EXPECT_THAT(ErrorOfForged(path, {1, 7, 3, 7}),
              HasSubstr("has 2 documents, wanted 1"));
  EXPECT_THAT(ErrorOfForged(path, {1, 2, 7, 3}),
              HasSubstr("ends with token 3, wanted the end of text, 7"));
}

}  // namespace
}  // namespace nextword

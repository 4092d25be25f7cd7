#include "tools/corpus/lazy_load_database.h"

#include <zlib.h>

#include <string>
#include <variant>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/r_writer.h"
#include "tools/corpus/inflate.h"

namespace nextword {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Deflate(const std::string& content) {
  uLongf size = compressBound(content.size());
  std::string compressed(size, '\0');
  compress(reinterpret_cast<Bytef*>(&compressed[0]), &size,
           reinterpret_cast<const Bytef*>(content.data()), content.size());
  compressed.resize(size);
  return compressed;
}

std::string Block(const std::string& serialized) {
  return RWriter().Word(serialized.size()).str() + Deflate(serialized);
}

std::string Index(const std::vector<int32_t>& place, int compression) {
  return Deflate(RWriter()
                     .Header()
                     .ListWithAttributes(2)
                     .ListWithAttributes(1)
                     .Integers(place)
                     .Names({"emma"}, true)
                     .Integers({compression})
                     .Names({"variables", "compressed"}, false)
                     .str());
}

class LazyLoadDatabaseTest : public ::testing::Test {
 protected:
  void Write(const std::string& index, const std::string& blocks) {
    ASSERT_TRUE(WriteFileAtomically(stem_ + ".rdx", index).ok());
    ASSERT_TRUE(WriteFileAtomically(stem_ + ".rdb", blocks).ok());
  }

  // What opening the database and loading emma complains about.
  std::string Error() {
    const auto database = LazyLoadDatabase::Open(stem_);
    if (!database.ok()) return std::string(database.status().message());
    return std::string(database->Load("emma").status().message());
  }

  const std::string stem_ = absl::StrCat(
      ::testing::TempDir(), "/",
      ::testing::UnitTest::GetInstance()->current_test_info()->name());
  const std::string block_ =
      Block(RWriter().Header().Strings({"EMMA", "FINIS"}).str());
  const int32_t size_ = static_cast<int32_t>(block_.size());
};

TEST_F(LazyLoadDatabaseTest, LoadsAVariable) {
  Write(Index({3, size_}, 1), "xyz" + block_ + "xyz");
  const auto database = LazyLoadDatabase::Open(stem_);
  ASSERT_TRUE(database.ok()) << database.status();
  const auto emma = database->Load("emma");
  ASSERT_TRUE(emma.ok()) << emma.status();
  EXPECT_THAT(std::get<RValue::Strings>(emma->data),
              ElementsAre("EMMA", "FINIS"));
  EXPECT_THAT(std::string(database->Load("ema").status().message()),
              HasSubstr("no variable ema; there are emma"));
}

TEST_F(LazyLoadDatabaseTest, NamesAMissingFile) {
  EXPECT_THAT(Error(), HasSubstr(stem_ + ".rdx"));
}

TEST_F(LazyLoadDatabaseTest, RefusesBlocksOutsideTheFile) {
  for (const std::vector<int32_t>& place : {std::vector<int32_t>{-1, size_},
                                            {1, size_},
                                            {0, -1},
                                            {0, 3},
                                            {2147483647, 2147483647}}) {
    Write(Index(place, 1), block_);
    EXPECT_THAT(Error(), HasSubstr(absl::StrCat(".rdb: emma: block at ",
                                                place[0], " of ", place[1])));
  }
}

TEST_F(LazyLoadDatabaseTest, RefusesAnIndexWithoutPlaces) {
  Write(Index({1, 2, 3}, 1), block_);
  EXPECT_THAT(Error(), HasSubstr("variable emma has no offset and length"));
  Write(Index({0, size_}, 3), block_);
  EXPECT_THAT(Error(), HasSubstr("not compressed by zlib"));
  Write(Deflate(RWriter().Header().Null().str()), block_);
  EXPECT_THAT(Error(), HasSubstr(".rdx: no index of an R database"));
}

TEST_F(LazyLoadDatabaseTest, RefusesABlockOfAnotherSize) {
  std::string longer = block_;
  ++longer[3];
  Write(Index({0, size_}, 1), longer);
  EXPECT_THAT(Error(), HasSubstr("block inflates to"));
  std::string shorter = block_;
  --shorter[3];
  Write(Index({0, size_}, 1), shorter);
  EXPECT_THAT(Error(), HasSubstr("holds more than"));
  std::string huge = block_;
  huge[0] = '\x7F';
  Write(Index({0, size_}, 1), huge);
  EXPECT_THAT(Error(), HasSubstr("wanted at most"));
}

TEST(InflateTest, RoundTripsAndBoundsTheOutput) {
  for (size_t size : {0, 1, 65535, 65536, 65537, 1000000}) {
    const std::string content(size, 'a');
    const auto inflated = Inflate(Deflate(content), size);
    ASSERT_TRUE(inflated.ok()) << size << " " << inflated.status();
    EXPECT_EQ(*inflated, content);
    if (size == 0) continue;
    EXPECT_FALSE(Inflate(Deflate(content), size - 1).ok()) << size;
  }
}

TEST(InflateTest, RefusesTruncatedTrailingAndForeignBytes) {
  const std::string compressed = Deflate("It is a truth universally");
  for (size_t size = 0; size < compressed.size(); ++size) {
    EXPECT_FALSE(Inflate(compressed.substr(0, size), 100).ok()) << size;
  }
  EXPECT_FALSE(Inflate(compressed + "x", 100).ok());
  EXPECT_FALSE(Inflate("plain text", 100).ok());
}

}  // namespace
}  // namespace nextword

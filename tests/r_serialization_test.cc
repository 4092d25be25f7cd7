#include "tools/corpus/r_serialization.h"

#include <string>
#include <variant>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/r_writer.h"

namespace nextword {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string ErrorOf(const std::string& bytes) {
  const absl::StatusOr<RValue> value = ParseRSerialization(bytes);
  return value.ok() ? "" : std::string(value.status().message());
}

// list(place = c(0L, -7L), nothing = list(text = "a")), names twice.
std::string NestedList() {
  return RWriter()
      .Header()
      .ListWithAttributes(2)
      .Integers({0, -7})
      .ListWithAttributes(1)
      .Strings({"a"})
      .Names({"text"}, true)
      .Names({"place", "inner"}, false)
      .str();
}

TEST(RSerializationTest, ReadsLinesOfText) {
  for (int version : {2, 3}) {
    const auto value = ParseRSerialization(
        RWriter().Header(version).Strings({"EMMA", "", "VOLUME I"}).str());
    ASSERT_TRUE(value.ok()) << value.status();
    EXPECT_THAT(std::get<RValue::Strings>(value->data),
                ElementsAre("EMMA", "", "VOLUME I"));
  }
}

TEST(RSerializationTest, StringsBecomeUtf8) {
  const auto utf8 = ParseRSerialization(
      RWriter().Header().Strings({"caf\xC3\xA9"}, RWriter::kUtf8).str());
  ASSERT_TRUE(utf8.ok()) << utf8.status();
  EXPECT_THAT(std::get<RValue::Strings>(utf8->data),
              ElementsAre("caf\xC3\xA9"));

  const auto latin1 = ParseRSerialization(
      RWriter().Header().Strings({"caf\xE9 \xBF"}, RWriter::kLatin1).str());
  ASSERT_TRUE(latin1.ok()) << latin1.status();
  EXPECT_THAT(std::get<RValue::Strings>(latin1->data),
              ElementsAre("caf\xC3\xA9 \xC2\xBF"));

  EXPECT_THAT(ErrorOf(RWriter().Header().Strings({"caf\xE9"}, 9).str()),
              HasSubstr("neither in UTF-8 nor in Latin-1"));
}

TEST(RSerializationTest, ReadsNamedNestedLists) {
  const auto value = ParseRSerialization(NestedList());
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_THAT(value->names, ElementsAre("place", "inner"));
  const auto& list = std::get<RValue::List>(value->data);
  ASSERT_EQ(list.size(), 2u);
  EXPECT_THAT(std::get<RValue::Integers>(list[0].data), ElementsAre(0, -7));
  EXPECT_THAT(list[1].names, ElementsAre("text"));
}

TEST(RSerializationTest, ReadsNull) {
  const auto value = ParseRSerialization(RWriter().Header().Null().str());
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_TRUE(std::holds_alternative<std::monostate>(value->data));
}

TEST(RSerializationTest, EveryTruncationIsAnError) {
  const std::string bytes = NestedList();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_NE(ErrorOf(bytes.substr(0, size)), "") << "first " << size;
  }
  EXPECT_THAT(ErrorOf(bytes + "x"), HasSubstr("1 bytes follow the value"));
}

// For sanitizers: no damaged byte may lead outside the input or exhaust memory.
TEST(RSerializationTest, SurvivesEveryDamagedByte) {
  const std::string bytes = NestedList();
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      (void)ParseRSerialization(damaged);
    }
  }
}

TEST(RSerializationTest, NamesWhatItCannotRead) {
  EXPECT_THAT(ErrorOf("A\n"), HasSubstr("byte 2: not in the XDR form"));
  EXPECT_THAT(ErrorOf(RWriter().Header(4).str()),
              HasSubstr("version 4, wanted 2 or 3"));
  EXPECT_THAT(ErrorOf(RWriter().Header().Word(25).str()), HasSubstr("type 25"));
  EXPECT_THAT(
      ErrorOf(RWriter().Header().Word(16).Word(1).Word(13).Word(0).str()),
      HasSubstr("type 13, wanted a string"));
  EXPECT_THAT(
      ErrorOf(RWriter().Header().Word(16).Word(1).Word(9).Word(~0u).str()),
      HasSubstr("missing string"));
}

TEST(RSerializationTest, RefusesHostileSizesAndDepth) {
  for (int type : {13, 16, 19}) {
    for (uint32_t count : {0xFFFFFFFFu, 0x7FFFFFFFu, 1u}) {
      EXPECT_THAT(ErrorOf(RWriter().Header().Word(type).Word(count).str()),
                  HasSubstr("a vector of"));
    }
  }
  RWriter deep;
  deep.Header();
  for (int i = 0; i < 100000; ++i) deep.Word(19).Word(1);
  EXPECT_THAT(ErrorOf(deep.Null().str()), HasSubstr("nested too deeply"));

  EXPECT_THAT(ErrorOf(RWriter()
                          .Header()
                          .ListWithAttributes(0)
                          .Word(0x402)
                          .Word(0x2FF)
                          .Null()
                          .str()),
              HasSubstr("reference to symbol 2 of 0"));
}

}  // namespace
}  // namespace nextword

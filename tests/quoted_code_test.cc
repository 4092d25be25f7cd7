// Code that docs quote is the code that the build compiles.
//
// A line "<!-- path/of/file -->" before a block of code says where it stands;
// the block must occur in that file as it is.
#include <fstream>
#include <regex>
#include <string>

#include "gtest/gtest.h"

namespace nextword {
namespace {

std::string Contents(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

class QuotedCodeTest : public ::testing::TestWithParam<const char*> {};

TEST_P(QuotedCodeTest, StandsInTheFile) {
  const std::string page = Contents(std::string("docs/") + GetParam() + ".md");
  static const std::regex quote(
      "<!-- (\\S+) -->\n```cpp\n((?:(?!```)[^\n]*\n)*)```\n");
  int quotes = 0;
  for (std::sregex_iterator it(page.begin(), page.end(), quote), end; it != end;
       ++it, ++quotes) {
    const std::string path = (*it)[1], code = (*it)[2];
    EXPECT_NE(Contents(path).find(code), std::string::npos)
        << path << " does not contain this:\n"
        << code;
  }
  EXPECT_GT(quotes, 0);
  const std::regex block("```cpp\n");
  EXPECT_EQ(
      quotes,
      std::distance(std::sregex_iterator(page.begin(), page.end(), block), {}))
      << "a block of C++ without its file";
}

INSTANTIATE_TEST_SUITE_P(Docs, QuotedCodeTest,
                         ::testing::Values("autograd", "adding_an_op"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace nextword

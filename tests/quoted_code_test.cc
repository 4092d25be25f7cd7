// Code that docs quote is the code that the build compiles.
//
// A line "<!-- path/of/file -->" before a block of code says where it stands;
// the block must occur in that file as it is.
#include <fstream>
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
  std::ifstream page(std::string("docs/") + GetParam() + ".md");
  int quotes = 0;
  std::string line;
  for (std::string previous; std::getline(page, line); previous = line) {
    if (line != "```cpp") continue;
    ASSERT_TRUE(previous.starts_with("<!-- ") && previous.ends_with(" -->"))
        << "a block of C++ without its file, after: " << previous;
    const std::string path = previous.substr(5, previous.size() - 9);
    std::string code;
    while (std::getline(page, line) && line != "```") code += line + "\n";
    EXPECT_NE(Contents(path).find(code), std::string::npos)
        << path << " does not contain this:\n"
        << code;
    ++quotes;
  }
  EXPECT_GT(quotes, 0);
}

INSTANTIATE_TEST_SUITE_P(Docs, QuotedCodeTest,
                         ::testing::Values("autograd", "adding_an_op", "cuda"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace nextword

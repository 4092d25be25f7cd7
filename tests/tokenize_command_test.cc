// `nextword tokenize` from its command line to its output.
#include "tools/commands/tokenize.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "data/tokenizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Outcome {
  absl::Status status;
  std::string output;
};

// Puts a file in the place of a standard stream while it lives.
class Redirect {
 public:
  Redirect(int stream, const std::string& path, int flags)
      : stream_(stream), saved_(dup(stream)) {
    const int fd = open(path.c_str(), flags | O_CLOEXEC, 0644);
    EXPECT_GE(fd, 0) << path;
    dup2(fd, stream);
    close(fd);
  }
  ~Redirect() {
    dup2(saved_, stream_);
    close(saved_);
  }

 private:
  int stream_;
  int saved_;
};

class TokenizeCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = FreshDirectory(absl::StrCat(
        "tokenize_",
        testing::UnitTest::GetInstance()->current_test_info()->name()));
    text_ = RandomText(1, 20000);
    WriteTestFile(Path("a.txt"), text_);
    WriteTestFile(Path("b.txt"), "second\n");
    ASSERT_TRUE(Run({"train", "--vocab-size", "400", "-o", Path("t.json"),
                     Path("a.txt")})
                    .status.ok());
  }

  std::string Path(absl::string_view name) const {
    return absl::StrCat(folder_, "/", name);
  }

  // `nextword tokenize ARGUMENTS < input`.
  Outcome Run(std::vector<std::string> arguments,
              const std::string& input = "") const {
    WriteTestFile(Path("input"), input);
    const Redirect in(STDIN_FILENO, Path("input"), O_RDONLY);
    Outcome outcome;
    {
      const Redirect out(STDOUT_FILENO, Path("output"),
                         O_WRONLY | O_CREAT | O_TRUNC);
      outcome.status = Parse(std::move(arguments));
    }
    outcome.output = *ReadFile(Path("output"));
    return outcome;
  }

  static absl::Status Parse(std::vector<std::string> arguments) {
    CLI::App app("nextword");
    absl::Status status = absl::UnknownError("the command did not run");
    AddTokenizeCommand(app, &status);
    arguments.insert(arguments.begin(), "tokenize");
    try {
      app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::Success&) {
      return absl::UnknownError(app.help());
    } catch (const CLI::Error& error) {
      return absl::InvalidArgumentError(error.what());
    }
    return status;
  }

  std::string folder_;
  std::string text_;
};

TEST_F(TokenizeCommandTest, EncodesAndDecodes) {
  const Outcome encoded =
      Run({"encode", "--tokenizer", Path("t.json"), Path("a.txt")});
  ASSERT_TRUE(encoded.status.ok()) << encoded.status;
  EXPECT_EQ(encoded.output.back(), '\n');
  const Outcome decoded =
      Run({"decode", "--tokenizer", Path("t.json")}, encoded.output);
  ASSERT_TRUE(decoded.status.ok()) << decoded.status;
  EXPECT_EQ(decoded.output, text_);
  WriteTestFile(Path("ids"), encoded.output);
  EXPECT_EQ(Run({"decode", "--tokenizer", Path("t.json"), Path("ids")}).output,
            text_);
  EXPECT_EQ(Run({"encode", "--tokenizer", Path("t.json")}, text_).output,
            encoded.output);
}

TEST_F(TokenizeCommandTest, WritesATokenFileOfDocuments) {
  const Outcome encoded =
      Run({"encode", "--tokenizer", Path("t.json"), "--output",
           Path("x.tokens"), Path("a.txt"), Path("b.txt")});
  ASSERT_TRUE(encoded.status.ok()) << encoded.status;
  const Outcome decoded =
      Run({"decode", "--tokenizer", Path("t.json"), Path("x.tokens")});
  ASSERT_TRUE(decoded.status.ok()) << decoded.status;
  EXPECT_EQ(decoded.output,
            absl::StrCat(text_, kEndOfText, "second\n", kEndOfText));
}

TEST_F(TokenizeCommandTest, SpecialTokensAreOptions) {
  ASSERT_TRUE(
      Run({"train", "--vocab-size", "300", "--special-token", "<|x|>",
           "--special-token", "<|y|>", "-o", Path("s.json"), Path("a.txt")})
          .status.ok());
  const auto tokenizer = Tokenizer::Load(Path("s.json"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(tokenizer->SpecialTokenId("<|y|>"), 299);
  EXPECT_EQ(tokenizer->end_of_text_id(), 297);
  const std::vector<std::string> encode = {"encode", "--tokenizer",
                                           Path("s.json")};
  std::vector<std::string> parse = encode;
  parse.push_back("--parse-special-tokens");
  EXPECT_EQ(Run(parse, "<|y|><|x|>").output, "299 298\n");
  EXPECT_NE(Run(encode, "<|y|><|x|>").output, "299 298\n");
}

TEST_F(TokenizeCommandTest, HelpStartsWithAnExample) {
  for (const char* command : {"train", "encode", "decode"}) {
    EXPECT_THAT(std::string(Parse({command, "--help"}).message()),
                AllOf(StartsWith("Example:\n  "),
                      HasSubstr(absl::StrCat("nextword tokenize ", command)),
                      HasSubstr("FILE")));
  }
  EXPECT_THAT(std::string(Parse({"--help"}).message()),
              StartsWith("Example:\n  "));
}

TEST_F(TokenizeCommandTest, RefusesBadInput) {
  const auto error = [this](std::vector<std::string> arguments,
                            const std::string& input = "") {
    return std::string(Run(std::move(arguments), input).status.message());
  };
  const std::string tokenizer = Path("t.json");
  WriteTestFile(Path("empty"), "");
  EXPECT_THAT(error({"train", "-o", Path("n.json"), Path("none")}),
              HasSubstr(Path("none")));
  EXPECT_THAT(error({"train", "-o", Path("n.json"), Path("empty")}),
              HasSubstr("is empty"));
  EXPECT_THAT(error({"train", "-o", Path("n.json"), Path("b.txt")}),
              HasSubstr("entries only"));
  EXPECT_FALSE(fs::exists(Path("n.json")));
  EXPECT_THAT(error({"encode", "--tokenizer", Path("none"), Path("a.txt")}),
              HasSubstr(Path("none")));
  EXPECT_THAT(error({"decode", "--tokenizer", tokenizer}, "1 x 2"),
              HasSubstr("\"x\" after 1 ids"));
  EXPECT_THAT(error({"decode", "--tokenizer", tokenizer}, "1 400"),
              HasSubstr("token id 400 is outside the vocabulary of 400"));
  EXPECT_THAT(error({"decode", "--tokenizer", tokenizer}, "99999999999"),
              HasSubstr("99999999999"));
  ASSERT_TRUE(Tokenizer::Bytes().Save(Path("bytes.json")).ok());
  ASSERT_TRUE(Run({"encode", "--tokenizer", Path("bytes.json"), "-o",
                   Path("b.tokens"), Path("b.txt")})
                  .status.ok());
  EXPECT_THAT(error({"decode", "--tokenizer", tokenizer, Path("b.tokens")}),
              HasSubstr("another tokenizer"));
}

TEST_F(TokenizeCommandTest, AFullDiskIsAnError) {
  WriteTestFile(Path("ids"), "1 2 3");
  {
    const Redirect out(STDOUT_FILENO, "/dev/full", O_WRONLY);
    for (const absl::Status& status :
         {Parse({"encode", "--tokenizer", Path("t.json"), Path("a.txt")}),
          Parse({"decode", "--tokenizer", Path("t.json"), Path("ids")})}) {
      EXPECT_FALSE(status.ok());
      EXPECT_THAT(status.message(), HasSubstr("No space left"));
    }
  }
  // A limit on the size of files stands for a disk that fills up.
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit saved;
  getrlimit(RLIMIT_FSIZE, &saved);
  rlimit small = saved;
  small.rlim_cur = 100;
  setrlimit(RLIMIT_FSIZE, &small);
  const absl::Status encoded = Parse({"encode", "--tokenizer", Path("t.json"),
                                      "-o", Path("x.tokens"), Path("a.txt")});
  const absl::Status trained = Parse(
      {"train", "--vocab-size", "400", "-o", Path("t.json"), Path("a.txt")});
  setrlimit(RLIMIT_FSIZE, &saved);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(encoded.message(), HasSubstr(Path("x.tokens")));
  EXPECT_THAT(trained.message(), HasSubstr(Path("t.json")));
  EXPECT_FALSE(encoded.ok() || trained.ok());
  EXPECT_FALSE(fs::exists(Path("x.tokens")));
  EXPECT_TRUE(Tokenizer::Load(Path("t.json")).ok());
}

TEST_F(TokenizeCommandTest, DevicesAndPipesAreNotReplaced) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0644), 0);
  EXPECT_THAT(Run({"encode", "--tokenizer", Path("t.json"), "-o", Path("pipe"),
                   Path("a.txt")})
                  .status.message(),
              HasSubstr("pipe: cannot write, is not a regular file"));
  EXPECT_FALSE(Run({"train", "-o", Path("pipe"), Path("a.txt")}).status.ok());
  EXPECT_TRUE(fs::is_fifo(Path("pipe")));
}

}  // namespace
}  // namespace nextword

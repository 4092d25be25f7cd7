// The commands that read, and the command line itself, as users run them: what
// they print, and what they say when something is wrong. None changes a file.
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_cli.h"

namespace nextword {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class CliReadTest : public CliTest {};

TEST_F(CliReadTest, HelpStartsWithAnExample) {
  const std::vector<Arguments> commands = {{},
                                           {"train"},
                                           {"check"},
                                           {"eval"},
                                           {"generate"},
                                           {"tokenize"},
                                           {"version"},
                                           {"tokenize", "train"},
                                           {"tokenize", "encode"},
                                           {"tokenize", "decode"}};
  for (Arguments arguments : commands) {
    arguments.push_back("--help");
    const Outcome outcome = Nextword(arguments);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.output, ContainsRegex("^Example:\n  [^\n]*nextword "));
  }
}

TEST_F(CliReadTest, VersionNamesLibrariesAndDevices) {
  const Outcome outcome = Nextword({"version"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("nextword"), HasSubstr("onednn"),
                                    HasSubstr("cpu")));
  EXPECT_THAT(outcome.errors, IsEmpty());
}

TEST_F(CliReadTest, ACommandLineThatCannotBeReadIsAnError) {
  for (const Arguments& arguments : std::vector<Arguments>{
           {},
           {"trian"},
           {"train"},
           {"train", "--config"},
           {"version", "--no-such-option"},
           {"check", "a", "b"},
           {"generate", "--checkpoint", "x", "--temperature", "-1"},
           {"generate", "--checkpoint", "x", "--top-p", "2"}}) {
    const Outcome outcome = Nextword(arguments);
    EXPECT_NE(outcome.exit_code, 0);
    EXPECT_LT(outcome.exit_code, 128);
    EXPECT_THAT(outcome.errors, Not(IsEmpty()));
  }
}

TEST_F(CliReadTest, CheckCountsKnownModels) {
  struct {
    const char* config;
    std::vector<std::string> lines;
  } const cases[] = {
      {"gpt2_124m", {"124,439,808"}},
      {"gpt2_1558m", {"1,557,611,200"}},
      {"gpt3_175b", {"174,604,259,328", "115,964,116,992"}},
      {"llama_8b", {"8,030,261,248"}},
      {"quickstart", {}},
  };
  for (const auto& c : cases) {
    const Outcome outcome =
        Nextword({"check", "--config",
                  absl::StrCat("configs/", c.config, ".textproto")});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
    for (const std::string& line : c.lines) {
      EXPECT_THAT(outcome.output, HasSubstr(absl::StrCat(" ", line, "\n")));
    }
    for (const char* part : {"Parameters", "Memory", "Compute", "FLOPs",
                             "checkpoint", "matmul peak"}) {
      EXPECT_THAT(outcome.output, HasSubstr(part)) << c.config;
    }
  }
}

TEST_F(CliReadTest, CheckKnowsTheDataOnceItIsThere) {
  Arguments check = Train({Text()});
  check[0] = "check";
  EXPECT_THAT(Nextword(check).output, HasSubstr("known once tokenized"));
  TrainOnce();
  const Outcome outcome = Nextword(check);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("tokens per epoch"),
                                    HasSubstr("epochs"), HasSubstr("1,728")));
  EXPECT_THAT(outcome.output, Not(HasSubstr("known once")));
}

// Also when the text that it was made from is another by now, or gone: eval
// makes nothing.
TEST_F(CliReadTest, EvalReadsWhatTheRunHeldOut) {
  TrainOnce();
  const Outcome before = Nextword({"eval", "--checkpoint", Path("run")});
  ASSERT_EQ(before.exit_code, 0) << before.errors;
  fs::remove(Path("text.txt"));
  const std::set<std::string> files = Files();
  const Outcome after = Nextword({"eval", "--checkpoint", Path("run")});
  EXPECT_EQ(after.output, before.output) << after.errors;
  EXPECT_EQ(Files(), files);
  fs::remove(Path("cache/held_out.tokens"));
  ExpectRefusal({"eval", "--checkpoint", Path("run")},
                {"cache/held_out.tokens"});
}

TEST_F(CliReadTest, RefusesBadCheckpoints) {
  TrainOnce();
  const std::string nine = fs::path(CheckpointFile("run", 9, "")).parent_path();
  for (const Arguments& arguments :
       {Arguments{"eval", "--checkpoint"},
        Arguments{"generate", "--checkpoint"},
        Train({Text(), "run_dir=" + Path("fresh")}, {"--resume"})}) {
    const auto with = [&](const std::string& path) {
      Arguments all = arguments;
      all.push_back(path);
      return all;
    };
    ExpectRefusal(with(Path("none")), {Path("none")});
    ExpectRefusal(with(Path("cache")), {Path("cache")});
    ExpectRefusal(with(Path("text.txt")), {Path("text.txt")});
  }
  ExpectRefusal(Train({Text()}), {"newest of step 9", "--resume"});
  ExpectRefusal(Train({Text(), "model.hidden_size=64"}, {"--resume", "auto"}),
                {nine, "model.hidden_size: is 64, the checkpoint's 32"});

  Damage(CheckpointFile("run", 9, "model.safetensors"));
  ExpectRefusal({"eval", "--checkpoint", nine},
                {"step-00000009/model.safetensors", "is damaged"});
  ExpectRefusal({"generate", "--checkpoint", nine},
                {"step-00000009/model.safetensors", "is damaged"});
  // A run has older ones, which are whole.
  const Outcome older = Nextword({"eval", "--checkpoint", Path("run")});
  EXPECT_EQ(older.exit_code, 0) << older.errors;
  EXPECT_THAT(older.output, HasSubstr("step-00000006"));
  EXPECT_THAT(older.errors, HasSubstr("step-00000009/model.safetensors"));
  for (const int step : {3, 6}) {
    fs::remove(CheckpointFile("run", step, "manifest.textproto"));
  }
  ExpectRefusal(Train({Text()}, {"--resume", "auto"}),
                {"none is whole", "step-00000003"});
}

TEST_F(CliReadTest, GenerateRefusesOptionsOutOfRange) {
  TrainOnce();
  const Arguments generate = {"generate", "--checkpoint", Path("run")};
  const auto with = [&](const std::string& option, const std::string& value) {
    Arguments all = generate;
    all.insert(all.end(), {option, value});
    return all;
  };
  ExpectRefusal(with("--temperature", "nan"), {"--temperature is nan"});
  ExpectRefusal(with("--top-p", "nan"), {"--top-p is nan"});
  ExpectRefusal(with("--top-p", "0"), {"--top-p is 0"});
  ExpectRefusal(with("--top-k", "-1"), {"--top-k is -1"});
  EXPECT_NE(Nextword(with("--threads", "100000")).exit_code, 0);
}

TEST_F(CliReadTest, LostOutputIsAnError) {
  TrainOnce();
  for (const Arguments& arguments : std::vector<Arguments>{
           {"version"},
           {"check", "--config", "configs/quickstart.textproto"},
           {"eval", "--checkpoint", Path("run")},
           {"generate", "--checkpoint", Path("run")}}) {
    ExpectRefusal(arguments, {"standard output", "No space left"},
                  {.output_path = "/dev/full"});
  }
}

}  // namespace
}  // namespace nextword

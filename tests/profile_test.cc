// `nextword train --profile`: what lands in the file, and that nothing else
// changes.
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing_process.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr char kConfig[] = R"(
  steps: 9
  model {
    layers: 2 hidden_size: 32 num_heads: 4 context_length: 24 position: ROPE
  }
  data { tokenizer_vocab_size: 300 }
  batch { lanes: 2 micro_batch: 4 }
  evaluation { every: 5 max_sequences: 10 }
  sample { every: 4 tokens: 5 }
  checkpoint { every: 3 })";

class ProfileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = FreshDirectory(absl::StrCat(
        "profile_",
        testing::UnitTest::GetInstance()->current_test_info()->name()));
    WriteTestFile(Path("config.textproto"), kConfig);
    WriteTestFile(Path("text.txt"), RandomText(1, 15000));
  }

  std::string Path(const std::string& name) const {
    return absl::StrCat(folder_, "/", name);
  }

  Outcome Train(const std::string& run, const std::string& steps,
                const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {
        "tools/nextword", "train",
        "--config",       Path("config.textproto"),
        "--set",          "run_dir=" + Path(run),
        "--set",          "data.source=" + Path("text.txt"),
        "--set",          "data.cache_dir=" + Path("cache"),
        "--set",          "steps=" + steps,
    };
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunProcess(arguments);
  }

  // The spans of one category, by name.
  static std::map<std::string, int> Spans(const std::string& path,
                                          const std::string& category) {
    const auto profile = nlohmann::json::parse(*ReadFile(path));
    std::map<std::string, int> spans;
    for (const auto& event : profile.at("traceEvents")) {
      if (event.value("cat", "") == category) ++spans[event.at("name")];
    }
    return spans;
  }

  std::string folder_;
};

TEST_F(ProfileTest, TracesStepsAfterTheFirstTwo) {
  const Outcome outcome = Train("run", "9", {"--profile", "4"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.errors;
  EXPECT_THAT(outcome.errors,
              HasSubstr(absl::StrCat("traced 4 steps into ", Path("run"),
                                     "/profile.json\n")));
  // Steps 3 to 6, of two lanes each: an evaluation after 5, a sample after 4,
  // checkpoints after 3 and 6.
  const std::string path = Path("run/profile.json");
  EXPECT_THAT(Spans(path, "step"),
              UnorderedElementsAre(Pair("step", 4), Pair("data", 8),
                                   Pair("forward", 8), Pair("backward", 8),
                                   // Of each lane, and of all.
                                   Pair("reduce", 8 + 4), Pair("update", 4),
                                   Pair("evaluate", 1), Pair("sample", 1),
                                   Pair("save", 2)));
  EXPECT_GT(Spans(path, "kernel")["matmul"], 0);
  EXPECT_EQ(Spans(path, "kernel")["embedding_grad"], 8);
  EXPECT_EQ(Spans(path, "backward")["embedding"], 8);
}

TEST_F(ProfileTest, LeavesTheSameBits) {
  ASSERT_EQ(Train("traced", "9", {"--profile", "9"}).exit_code, 0);
  ASSERT_EQ(Train("plain", "9").exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(Path("plain/profile.json")));
  const std::string last = "/checkpoints/step-00000009/model.safetensors";
  EXPECT_TRUE(*ReadFile(Path("traced") + last) ==
              *ReadFile(Path("plain") + last));
}

TEST_F(ProfileTest, AShortRunIsTracedFromItsStart) {
  const struct {
    const char *asked, *traced;
  } cases[] = {{"2", "2"}, {"3", "3"}, {"8", "3"}};
  for (const auto& [asked, traced] : cases) {
    const std::string run = absl::StrCat("run_", asked);
    const std::string path = Path(absl::StrCat("profile_", asked));
    const Outcome outcome =
        Train(run, "3", {"--profile", asked, "--profile_file", path});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.errors;
    EXPECT_THAT(outcome.errors, HasSubstr(absl::StrCat("traced ", traced,
                                                       " steps into ", path)));
    EXPECT_EQ(absl::StrCat(Spans(path, "step")["step"]), traced);
  }
  // A finished run has none left.
  const Outcome finished =
      Train("run_2", "3", {"--profile", "2", "--resume", "auto"});
  EXPECT_EQ(finished.exit_code, 0) << finished.errors;
  EXPECT_THAT(finished.errors, HasSubstr("nothing is left to do"));
  EXPECT_THAT(finished.errors, Not(HasSubstr("traced")));
}

TEST_F(ProfileTest, AFileThatCannotBeWrittenIsAnError) {
  const Outcome outcome =
      Train("run", "9",
            {"--profile", "2", "--profile_file", "/proc/nowhere/profile.json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.errors, HasSubstr("/proc/nowhere/profile.json"));
  EXPECT_NE(Train("run", "9", {"--profile_file", "x"}).exit_code, 0);
  EXPECT_NE(Train("run", "9", {"--profile", "0"}).exit_code, 0);
}

}  // namespace
}  // namespace nextword

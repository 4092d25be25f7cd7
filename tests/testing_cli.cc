#include "tests/testing_cli.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "autograd/base/hash.h"
#include "gmock/gmock.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

using ::testing::HasSubstr;

constexpr char kConfig[] = R"(
  steps: 9
  model {
    layers: 2 hidden_size: 32 num_heads: 4 context_length: 24 position: ROPE
    dropout: 0.1
  }
  data { tokenizer_vocab_size: 300 }
  batch { lanes: 2 micro_batch: 4 }
  optimizer { learning_rate: 1e-2 }
  evaluation { every: 5 max_sequences: 10 }
  checkpoint { every: 3 keep: 0 }
  log { every: 1 })";

}  // namespace

Outcome Nextword(Arguments arguments, const ProcessOptions& options) {
  arguments.insert(arguments.begin(), "tools/nextword");
  return RunProcess(arguments, options);
}

void CliTest::SetUp() {
  folder_ = FreshDirectory(absl::StrCat(
      "cli_", testing::UnitTest::GetInstance()->current_test_info()->name()));
  WriteTestFile(Path("config.textproto"), kConfig);
  WriteTestFile(Path("text.txt"), RandomText(1, 15000));
}

std::string CliTest::Path(const std::string& name) const {
  return name.empty() ? folder_ : absl::StrCat(folder_, "/", name);
}

Arguments CliTest::Train(const Arguments& overrides,
                         const Arguments& more) const {
  Arguments arguments = {"train", "--config", Path("config.textproto")};
  for (const std::string& set :
       {"run_dir=" + Path("run"), "data.cache_dir=" + Path("cache")}) {
    arguments.insert(arguments.end(), {"--set", set});
  }
  for (const std::string& set : overrides) {
    arguments.insert(arguments.end(), {"--set", set});
  }
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Arguments CliTest::Tokens(const std::string& tokens,
                          const std::string& tokenizer) const {
  return {"data.tokens=" + tokens, "data.tokenizer=" + tokenizer,
          "evaluation.every=0"};
}

void CliTest::TrainOnce() const {
  const Outcome outcome = Nextword(Train({Text()}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.errors;
}

std::string CliTest::CheckpointFile(const std::string& run, int step,
                                    const std::string& name) const {
  return absl::StrCat(Path(run), "/checkpoints/step-0000000", step, "/", name);
}

std::set<std::string> CliTest::Files() const {
  std::set<std::string> files;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(folder_)) {
    const std::string path = entry.path().string();
    files.insert(entry.is_regular_file()
                     ? absl::StrCat(path, " ", Hash64(*ReadFile(path)))
                     : path);
  }
  return files;
}

void CliTest::ExpectRefusal(const Arguments& arguments,
                            const std::vector<std::string>& words,
                            const ProcessOptions& options) const {
  SCOPED_TRACE(arguments.back());
  const std::set<std::string> before = Files();
  const Outcome outcome = Nextword(arguments, options);
  EXPECT_EQ(outcome.exit_code, 1) << outcome.errors;
  EXPECT_THAT(outcome.errors, HasSubstr("nextword: "));
  for (const std::string& word : words) {
    EXPECT_THAT(outcome.errors, HasSubstr(word));
  }
  EXPECT_EQ(Files(), before);
}

void CliTest::Damage(const std::string& path) const {
  std::string bytes = *ReadFile(path);
  bytes[bytes.size() / 2] ^= 1;
  WriteTestFile(path, bytes);
}

}  // namespace nextword

// The nextword binary as its users run it: what it prints, and what it says,
// and leaves alone, when something is wrong.
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "autograd/base/directory.h"
#include "autograd/base/file.h"
#include "autograd/base/hash.h"
#include "data/token_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_process.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

using Arguments = std::vector<std::string>;

Outcome Nextword(Arguments arguments, const ProcessOptions& options = {}) {
  arguments.insert(arguments.begin(), "tools/nextword");
  return RunProcess(arguments, options);
}

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

class CliTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = FreshDirectory(absl::StrCat(
        "cli_", testing::UnitTest::GetInstance()->current_test_info()->name()));
    WriteTestFile(Path("config.textproto"), kConfig);
    WriteTestFile(Path("text.txt"), RandomText(1, 15000));
  }

  std::string Path(const std::string& name) const {
    return absl::StrCat(folder_, "/", name);
  }

  // `nextword train` with kConfig, data in cache/ and, unless overridden, the
  // run in run/.
  Arguments Train(const Arguments& overrides = {},
                  const Arguments& more = {}) const {
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
  std::string Text() const { return "data.source=" + Path("text.txt"); }

  // Every file below the test's folder, with a hash of its bytes.
  std::set<std::string> Files() const {
    std::set<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      const std::string path = entry.path().string();
      files.insert(entry.is_regular_file()
                       ? absl::StrCat(path, " ", Hash64(*ReadFile(path)))
                       : path);
    }
    return files;
  }

  // The command fails with these words, and leaves all files as they were.
  void ExpectRefusal(const Arguments& arguments,
                     const std::vector<std::string>& words,
                     const ProcessOptions& options = {}) const {
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

  // Flips a bit in the middle of a file.
  void Damage(const std::string& path) const {
    std::string bytes = *ReadFile(path);
    bytes[bytes.size() / 2] ^= 1;
    WriteTestFile(path, bytes);
  }

  // A trained run/, with token files in cache/.
  void TrainOnce() const {
    const Outcome outcome = Nextword(Train({Text()}));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.errors;
  }
  std::string CheckpointFile(const std::string& run, int step,
                             const std::string& name) const {
    return absl::StrCat(Path(run), "/checkpoints/step-0000000", step, "/",
                        name);
  }

  // Overrides for training on token files.
  Arguments Tokens(const std::string& tokens,
                   const std::string& tokenizer) const {
    return {"data.tokens=" + tokens, "data.tokenizer=" + tokenizer,
            "evaluation.every=0"};
  }

  std::string folder_;
};

TEST_F(CliTest, HelpStartsWithAnExample) {
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

TEST_F(CliTest, VersionNamesLibrariesAndDevices) {
  const Outcome outcome = Nextword({"version"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("nextword"), HasSubstr("onednn"),
                                    HasSubstr("cpu")));
  EXPECT_THAT(outcome.errors, IsEmpty());
}

TEST_F(CliTest, ACommandLineThatCannotBeReadIsAnError) {
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

TEST_F(CliTest, CheckCountsKnownModels) {
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

TEST_F(CliTest, CheckKnowsTheDataOnceItIsThere) {
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

TEST_F(CliTest, TrainsEvaluatesAndGenerates) {
  const Outcome trained = Nextword(Train({Text()}));
  ASSERT_EQ(trained.exit_code, 0) << trained.errors;
  EXPECT_THAT(trained.output, IsEmpty());
  for (const char* words :
       {"step 1/9  loss 5.", "step 9/9  loss", "tokens/s", "% of matmul peak",
        "left", "bits per byte", "saved"}) {
    EXPECT_THAT(trained.errors, HasSubstr(words));
  }

  const Outcome held_out = Nextword({"eval", "--checkpoint", Path("run")});
  EXPECT_EQ(held_out.exit_code, 0) << held_out.errors;
  EXPECT_THAT(held_out.output,
              AllOf(HasSubstr("step-00000009"), HasSubstr("nats per token"),
                    HasSubstr("perplexity"), HasSubstr("bits per byte")));
  const Outcome text = Nextword({"eval", "--checkpoint", Path("run"), "--text",
                                 Path("text.txt"), "--batch", "3"});
  EXPECT_EQ(text.exit_code, 0) << text.errors;
  EXPECT_THAT(text.output,
              HasSubstr(absl::StrCat(fs::file_size(Path("text.txt")), "\n")));

  Arguments generate = {"generate", "--checkpoint", Path("run"), "--prompt",
                        "Once ",    "--tokens",     "40"};
  const Outcome one = Nextword(generate);
  EXPECT_EQ(one.exit_code, 0) << one.errors;
  EXPECT_THAT(one.output, AllOf(StartsWith("Once "), EndsWith("\n")));
  EXPECT_GT(one.output.size(), absl::string_view("Once \n").size());
  EXPECT_EQ(Nextword(generate).output, one.output);
  generate.insert(generate.end(), {"--seed", "2"});
  EXPECT_NE(Nextword(generate).output, one.output);
}

// Killed in the middle of a step or of what follows it, and resumed each time.
// The run goes on for long after the last moment, so that it cannot end before
// it is killed.
TEST_F(CliTest, KilledRunsEndInTheSameBits) {
  const auto train = [&](const std::string& run, const std::string& moment) {
    return Nextword(Train({Text(), "steps=200", "checkpoint.every=20",
                           "checkpoint.keep=2", "run_dir=" + Path(run)},
                          {"--resume", "auto"}),
                    {.kill_at = moment});
  };
  ASSERT_EQ(train("whole", "").exit_code, 0);
  for (const char* moment :
       {"step 7/200", "step 31/200", "step-00000060", "step 85/200"}) {
    const Outcome killed = train("killed", moment);
    EXPECT_EQ(killed.exit_code, 128 + 9) << moment << killed.errors;
  }
  const Outcome finished = train("killed", "");
  ASSERT_EQ(finished.exit_code, 0) << finished.errors;
  EXPECT_THAT(finished.errors, HasSubstr("step-00000080, step 80 of 200"));
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    const std::string last = absl::StrCat("/checkpoints/step-00000200/", file);
    EXPECT_TRUE(*ReadFile(Path("whole") + last) ==
                *ReadFile(Path("killed") + last))
        << file;
  }
}

TEST_F(CliTest, RefusesBadConfigs) {
  ExpectRefusal(
      Train({Text(), "model.layerz=3", "batch.lanes=three"}),
      {"model.layerz", "did you mean layers?", "batch.lanes", "three"});
  ExpectRefusal(Train({Text(), "garbage"}), {"--set garbage"});
  ExpectRefusal(Train({Text(), "=3"}), {"--set =3"});
  ExpectRefusal(Train({Text(), "model=3"}), {"--set model=3"});
  ExpectRefusal(Train({Text(), "steps="}), {"--set steps="});
  ExpectRefusal(Train({Text(), "model.hidden_size=33", "batch.lanes=3"}),
                {"model.hidden_size: is 33", "batch.lanes: is 3"});
  ExpectRefusal(Train({}), {"data: has neither source nor tokens"});
  ExpectRefusal({"train", "--config", Path("none.textproto")},
                {"none.textproto", "No such file"});
  WriteTestFile(Path("bad.textproto"), "steps: 3\nmodell { layers: 2 }\n");
  ExpectRefusal({"train", "--config", Path("bad.textproto")},
                {"bad.textproto:2:1", "modell", "did you mean model?"});
  WriteTestFile(Path("torn.textproto"), "model { layers: 2");
  ExpectRefusal({"check", "--config", Path("torn.textproto")},
                {"torn.textproto:1:18"});
}

TEST_F(CliTest, RefusesBadText) {
  ExpectRefusal(Train({"data.source=" + Path("none.txt")}), {"none.txt"});
  ExpectRefusal(Train({"data.source=" + Path("*.nothing")}), {"*.nothing"});
  WriteTestFile(Path("empty.txt"), "");
  ExpectRefusal(Train({"data.source=" + Path("empty.txt")}),
                {"empty.txt", "empty"});
  ExpectRefusal(Train({"data.source=" + folder_}), {folder_});
}

TEST_F(CliTest, RefusesASequenceLongerThanTheCorpus) {
  // Token files are made on the way to this error, and are good.
  EXPECT_EQ(Nextword(Train({Text(), "model.context_length=100000"})).exit_code,
            1);
  EXPECT_FALSE(fs::exists(Path("run")));
  ExpectRefusal(Train({Text(), "model.context_length=100000"}),
                {"sequence_length is 100000", "100001 tokens", "train.tokens"});
}

TEST_F(CliTest, RefusesBadTokenFiles) {
  TrainOnce();
  const std::string tokenizer = Path("cache/tokenizer.json");
  const std::string tokens = Path("cache/train.tokens");
  const std::string bytes = *ReadFile(tokens);
  ASSERT_TRUE(RemoveTree(Path("run")).ok());
  const auto expect_refusal = [&](const std::string& path,
                                  const std::string& words) {
    ExpectRefusal(Train(Tokens(path, tokenizer)), {path, words});
  };
  expect_refusal(Path("none.tokens"), "No such file");
  WriteTestFile(Path("empty.tokens"), "");
  expect_refusal(Path("empty.tokens"), "not a token file");
  WriteTestFile(Path("half.tokens"), bytes.substr(0, bytes.size() / 2));
  expect_refusal(Path("half.tokens"), "truncated");
  WriteTestFile(Path("torn.tokens"), bytes.substr(0, 50));
  expect_refusal(Path("torn.tokens"), "truncated");
  WriteTestFile(Path("flipped.tokens"), bytes);
  Damage(Path("flipped.tokens"));
  expect_refusal(Path("flipped.tokens"), "damaged");
  expect_refusal(Path("text.txt"), "not a token file");

  ASSERT_TRUE(Tokenizer::Bytes().Save(Path("bytes.json")).ok());
  ExpectRefusal(Train(Tokens(tokens, Path("bytes.json"))),
                {tokens, "another tokenizer"});
  ExpectRefusal(Train(Tokens(tokens, Path("none.json"))), {"none.json"});
}

// A header and checksums that are right, and ids that the model has no row for.
TEST_F(CliTest, RefusesIdsOutOfRange) {
  ASSERT_TRUE(Tokenizer::Bytes().Save(Path("bytes.json")).ok());
  const Vocabulary vocabulary = Tokenizer::Bytes().vocabulary();
  Vocabulary larger = vocabulary;
  larger.size += 10;
  const std::string path = Path("crafted.tokens");
  ASSERT_TRUE(WriteTokenFile(path, larger, [&](TokenFileWriter& writer) {
                std::vector<int32_t> ids(500, 'a');
                ids[321] = vocabulary.size + 5;
                return writer.AddDocument(ids, ids.size());
              }).ok());
  // The vocabulary's size is at byte 48 of the header, whose last 8 of 128
  // bytes are its checksum.
  std::string bytes = *ReadFile(path);
  bytes.replace(48, 4, reinterpret_cast<const char*>(&vocabulary.size), 4);
  const uint64_t checksum = Hash64(bytes.substr(0, 120));
  bytes.replace(120, 8, reinterpret_cast<const char*>(&checksum), 8);
  WriteTestFile(path, bytes);
  ExpectRefusal(Train(Tokens(path, Path("bytes.json"))),
                {path, "token 321 has id 262", "vocabulary of 257"});
}

TEST_F(CliTest, RefusesBadCheckpoints) {
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

// Also when the text that it was made from is another by now, or gone: eval
// makes nothing.
TEST_F(CliTest, EvalReadsWhatTheRunHeldOut) {
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

TEST_F(CliTest, MessagesToAClosedStreamEndUpInNoFile) {
  Arguments arguments = Train({Text()});
  arguments.insert(arguments.begin(),
                   {"/bin/sh", "-c", "exec tools/nextword \"$@\" 2>&-", "sh"});
  EXPECT_EQ(RunProcess(arguments).exit_code, 0);
  std::istringstream metrics(*ReadFile(Path("run/metrics.jsonl")));
  int lines = 0;
  for (std::string line; std::getline(metrics, line); ++lines) {
    EXPECT_THAT(line, AllOf(StartsWith("{"), EndsWith("}")));
  }
  EXPECT_GT(lines, 9);
}

TEST_F(CliTest, GenerateRefusesOptionsOutOfRange) {
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
  ExpectRefusal(Train({Text(), "threads=1000000"}),
                {"threads: is 1000000, wanted at most 1024"});
}

TEST_F(CliTest, ADiskThatFillsUpLeavesNothingHalfWritten) {
  // While token files are made.
  EXPECT_EQ(Nextword(Train({Text()}), {.max_file_bytes = 3000}).exit_code, 1);
  EXPECT_FALSE(fs::exists(Path("cache/train.tokens")));
  EXPECT_FALSE(fs::exists(Path("cache/corpus.json")));
  // While a checkpoint is written: its weights are larger than the tokens.
  TrainOnce();
  const std::string fresh = "run_dir=" + Path("fresh");
  const Outcome full =
      Nextword(Train({Text(), fresh}), {.max_file_bytes = 50000});
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_THAT(full.errors,
              AllOf(HasSubstr("safetensors"), HasSubstr("File too large")));
  EXPECT_TRUE(fs::is_empty(Path("fresh/checkpoints")));
  // With room again, it goes on.
  EXPECT_EQ(Nextword(Train({Text(), fresh}, {"--resume", "auto"})).exit_code,
            0);
}

TEST_F(CliTest, LostOutputIsAnError) {
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

TEST_F(CliTest, RefusesARunDirectoryThatCannotBe) {
  ExpectRefusal(Train({Text(), "run_dir=" + Path("text.txt"),
                       "data.cache_dir=" + Path("text.txt/cache")}),
                {Path("text.txt")});
  TrainOnce();
  ExpectRefusal(Train({Text(), "run_dir=/proc/nowhere"}), {"/proc/nowhere"});
}

// The start of the quick start's model when its token files are there.
TEST_F(CliTest, StartsFast) {
  WriteTestFile(Path("long.txt"), RandomText(3, 400000));
  const auto train = [&](const std::string& run) {
    return Arguments{"train",
                     "--config",
                     "configs/quickstart.textproto",
                     "--set",
                     absl::StrCat("data.source=[", Path("long.txt"), "]"),
                     "--set",
                     "data.held_out_source=[]",
                     "--set",
                     "data.tokenizer_vocab_size=1000",
                     "--set",
                     "model.vocab_size=4096",
                     "--set",
                     "data.cache_dir=" + Path("cache"),
                     "--set",
                     "run_dir=" + Path(run)};
  };
  const ProcessOptions until_first_step = {.kill_at = "step 1/"};
  EXPECT_EQ(Nextword(train("first"), until_first_step).exit_code, 128 + 9);
  const Outcome second = Nextword(train("second"), until_first_step);
  EXPECT_EQ(second.exit_code, 128 + 9) << second.errors;
  EXPECT_THAT(second.errors, HasSubstr("is up to date"));
  std::printf("to the end of the first step: %.2f seconds\n", second.seconds);
  RecordProperty("milliseconds", static_cast<int>(1000 * second.seconds));
  // One second on two quiet cores; a busy machine may take longer.
  EXPECT_LT(second.seconds, 5);
}

}  // namespace
}  // namespace nextword

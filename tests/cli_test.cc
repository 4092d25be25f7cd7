// `nextword train` as its users run it: what it prints, and what it says, and
// leaves alone, when something is wrong.
#include <cstdio>
#include <filesystem>
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
#include "tests/testing_cli.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

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
       {"step 7/200", "step 31/200", "step-00000060", "step-00000080"}) {
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
  ExpectRefusal(Train({Text(), "threads=1000000"}),
                {"threads: is 1000000, wanted at most 1024"});
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

TEST_F(CliTest, RefusesADeviceThatIsNotHere) {
  const Outcome version = Nextword({"version"});
  if (version.output.find("cuda:0") != std::string::npos) {
    GTEST_SKIP() << "there is a GPU";
  }
  EXPECT_THAT(version.output, HasSubstr("GPUs"));
  ExpectRefusal(Train({Text(), "device=CUDA"}), {"device: is CUDA"});
  ExpectRefusal({"generate", "--checkpoint", "x", "--device", "cuda"},
                {"device: is CUDA"});
  ExpectRefusal({"generate", "--checkpoint", "x", "--device", "tpu"},
                {"--device is tpu, wanted AUTO, CPU or CUDA"});
}

TEST_F(CliTest, ChecksAConfigForAGpuThatIsNotHere) {
  if (Nextword({"version"}).output.find("cuda:0") != std::string::npos) {
    GTEST_SKIP() << "there is a GPU";
  }
  const Outcome outcome =
      Nextword({"check", "--config", "configs/gpt2_124m.textproto", "--set",
                "device=CUDA", "--set", "compute_dtype=BF16"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  // Products' workspace and the scores of the micro-batch's 16 sequences.
  EXPECT_THAT(outcome.output, HasSubstr("436.21 MB"));
  EXPECT_THAT(outcome.output, HasSubstr("no GPU here to measure"));
}

TEST_F(CliTest, RefusesBadText) {
  ExpectRefusal(Train({"data.source=" + Path("none.txt")}), {"none.txt"});
  ExpectRefusal(Train({"data.source=" + Path("*.nothing")}), {"*.nothing"});
  WriteTestFile(Path("empty.txt"), "");
  ExpectRefusal(Train({"data.source=" + Path("empty.txt")}),
                {"empty.txt", "empty"});
  ExpectRefusal(Train({"data.source=" + Path("")}), {Path("")});
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

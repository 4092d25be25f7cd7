// Whole training runs on a small text: the same bits however they are computed,
// interrupted or repeated, and what stops a run leaves it intact.
#include "distributed/trainer.h"

#include <sys/stat.h>

#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/directory.h"
#include "autograd/base/file.h"
#include "autograd/base/parallel.h"
#include "distributed/run_checkpoints.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing.h"
#include "tests/testing_text.h"
#include "tests/testing_training.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using TrainerTest = TrainingTest;

TEST_F(TrainerTest, LearnsSavesAndReports) {
  const TrainConfig config = Config("run", {"steps=60", "checkpoint.keep=2"});
  ASSERT_TRUE(Run(config).ok());
  // Metrics: steps 1, 2, 4, ..., evaluations and samples between.
  std::vector<double> losses, held_out;
  int samples = 0;
  for (const std::string& line : Metrics("run")) {
    const auto record = nlohmann::json::parse(line);
    if (record.contains("loss")) losses.push_back(record["loss"]);
    if (record.contains("held_out_loss")) {
      held_out.push_back(record["held_out_loss"]);
    }
    samples += record.contains("sample") ? 1 : 0;
  }
  EXPECT_EQ(losses.size(), 31);
  EXPECT_EQ(held_out.size(), 15);
  EXPECT_EQ(samples, 10);
  EXPECT_NEAR(losses.front(), std::log(300), 0.1);
  EXPECT_LT(losses.back(), losses.front() - 1);
  EXPECT_LT(held_out.back(), std::log(300) - 1);
  // The newest two checkpoints stay.
  EXPECT_THAT(Steps("run"), ElementsAre(57, 60));
}

TEST_F(TrainerTest, ResumedEqualsUninterrupted) {
  ASSERT_TRUE(Run(Config("whole")).ok());
  for (const int step : {3, 6, 9}) {
    const std::string name = absl::StrCat("from_", step);
    KillAfter(step, "whole", name);
    const auto trainer = Trainer::Create(Config(name), "auto", Alone());
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    EXPECT_EQ((*trainer)->step(), step);
    ASSERT_TRUE((*trainer)->Run().ok());
    ExpectSameRun("whole", name);
  }
}

TEST_F(TrainerTest, ResumedTwiceEqualsUninterrupted) {
  ASSERT_TRUE(Run(Config("whole")).ok());
  KillAfter(3, "whole", "once");
  ASSERT_TRUE(Run(Config("once"), "auto").ok());
  KillAfter(6, "once", "twice");
  ASSERT_TRUE(Run(Config("twice"), "auto").ok());
  ExpectSameRun("whole", "twice");
  // A finished run has nothing left to do, and says so by success.
  ASSERT_TRUE(Run(Config("twice"), "auto").ok());
  ExpectSameRun("whole", "twice");
}

TEST_F(TrainerTest, SgdResumesToTheSameBits) {
  const std::vector<std::string> sgd = {"optimizer.kind=SGD"};
  ASSERT_TRUE(Run(Config("whole", sgd)).ok());
  KillAfter(6, "whole", "resumed");
  ASSERT_TRUE(Run(Config("resumed", sgd), "auto").ok());
  ExpectSameRun("whole", "resumed");
}

TEST_F(TrainerTest, MuonKeepsTheContract) {
  for (const char* dtype : {"F32", "BF16"}) {
    const std::vector<std::string> muon = {
        "optimizer.kind=MUON", absl::StrCat("compute_dtype=", dtype)};
    const std::string whole = absl::StrCat("whole_", dtype);
    const std::string resumed = absl::StrCat("resumed_", dtype);
    SetNumThreads(1);
    ASSERT_TRUE(Run(Config(whole, muon)).ok());
    SetNumThreads(2);
    KillAfter(6, whole, resumed);
    ASSERT_TRUE(Run(Config(resumed, muon), "auto").ok());
    ExpectSameRun(whole, resumed);
  }
}

using Overrides = std::vector<std::string>;
using Precision = std::pair<const char*, Overrides>;

class PrecisionTest : public TrainingTest,
                      public ::testing::WithParamInterface<Precision> {};

TEST_P(PrecisionTest, KeepsTheContract) {
  Overrides overrides = GetParam().second;
  SetNumThreads(1);
  ASSERT_TRUE(Run(Config("whole", overrides)).ok());
  SetNumThreads(2);
  KillAfter(6, "whole", "resumed");
  ASSERT_TRUE(Run(Config("resumed", overrides), "auto").ok());
  ExpectSameRun("whole", "resumed");
  overrides.push_back("model.recompute=BLOCK");
  ASSERT_TRUE(Run(Config("recomputed", overrides)).ok());
  EXPECT_TRUE(CheckpointFile("whole", kSteps, "model.safetensors") ==
              CheckpointFile("recomputed", kSteps, "model.safetensors"));
}

const std::vector<Precision> kPrecisions = {
    {"Bf16", {"compute_dtype=BF16"}},
    {"Bf16Stream", {"compute_dtype=BF16", "model.residual_in_bf16=true"}},
    {"Stochastic",
     {"compute_dtype=BF16", "optimizer.stochastic_rounding=true"}},
    {"Fp8", {"compute_dtype=FP8"}},
    {"Fp8Hybrid", {"compute_dtype=FP8_HYBRID", "model.activation=GELU_TANH"}}};

INSTANTIATE_TEST_SUITE_P(Of, PrecisionTest, ::testing::ValuesIn(kPrecisions),
                         [](const auto& info) { return info.param.first; });

TEST_F(TrainerTest, EachPrecisionHasBitsOfItsOwn) {
  ASSERT_TRUE(Run(Config("f32")).ok());
  std::set<std::string> models = {
      CheckpointFile("f32", kSteps, "model.safetensors")};
  for (const auto& [name, overrides] : kPrecisions) {
    ASSERT_TRUE(Run(Config(name, overrides)).ok());
    models.insert(CheckpointFile(name, kSteps, "model.safetensors"));
  }
  EXPECT_EQ(models.size(), 1 + kPrecisions.size());
}

TEST_F(TrainerTest, ResumesFromAnotherRun) {
  ASSERT_TRUE(Run(Config("whole")).ok());
  ASSERT_TRUE(
      Run(Config("branch"), CheckpointDirectory(Path("whole"), 6)).ok());
  EXPECT_TRUE(CheckpointFile("whole", kSteps, "model.safetensors") ==
              CheckpointFile("branch", kSteps, "model.safetensors"));
  EXPECT_THAT(Steps("branch"), ElementsAre(9, 12));
}

TEST_F(TrainerTest, ResumesFromAnotherRunUnlessItHasItsOwn) {
  ASSERT_TRUE(Run(Config("whole")).ok());
  const std::string six = CheckpointDirectory(Path("whole"), 6);
  ASSERT_TRUE(Run(Config("branch"), "auto:" + six).ok());
  EXPECT_THAT(Steps("branch"), ElementsAre(9, 12));
  ASSERT_TRUE(Run(Config("branch"), "auto:" + six).ok());
  EXPECT_THAT(Steps("branch"), ElementsAre(9, 12));
  EXPECT_FALSE(Run(Config("third"), "auto:" + Path("nowhere")).ok());
}

TEST_F(TrainerTest, ThreadsLeaveTheSameBits) {
  SetNumThreads(1);
  ASSERT_TRUE(Run(Config("one")).ok());
  SetNumThreads(2);
  ASSERT_TRUE(Run(Config("two")).ok());
  ExpectSameRun("one", "two");
}

TEST_F(TrainerTest, RecomputationLeavesTheSameBits) {
  ASSERT_TRUE(Run(Config("kept")).ok());
  for (const std::string what : {"MLP", "BLOCK"}) {
    ASSERT_TRUE(Run(Config(what, {"model.recompute=" + what})).ok());
    ExpectSameRun("kept", what);
  }
}

TEST_F(TrainerTest, SeedAndDropoutMatter) {
  const Tensor weights = FinalWeights(Config("a"));
  EXPECT_THAT(FinalWeights(Config("b")), HasBitsOf(weights));
  EXPECT_THAT(FinalWeights(Config("c", {"seed=6"})), Not(HasBitsOf(weights)));
  EXPECT_THAT(FinalWeights(Config("d", {"model.dropout=0"})),
              Not(HasBitsOf(weights)));
}

// However the 16 sequences of a step are cut, the loss is the mean over all
// tokens, and dropout falls on the same places.
TEST_F(TrainerTest, CuttingTheBatchChangesRoundingOnly) {
  const auto weights = [&](int lanes, int micro_batches, int micro_batch) {
    const std::string name =
        absl::StrCat(lanes, "_", micro_batches, "_", micro_batch);
    return FinalWeights(Config(
        name, {absl::StrCat("batch.lanes=", lanes),
               absl::StrCat("batch.micro_batches=", micro_batches),
               absl::StrCat("batch.micro_batch=", micro_batch), "steps=4",
               // Adam divides by noise where a gradient is all but zero.
               "optimizer.kind=SGD"}));
  };
  const Tensor whole = weights(1, 1, 16);
  const int cuts[][3] = {{1, 16, 1}, {16, 1, 1}, {4, 2, 2}, {2, 1, 8}};
  for (const auto& [lanes, micro_batches, micro_batch] : cuts) {
    EXPECT_THAT(weights(lanes, micro_batches, micro_batch), IsNear(whole, 1e-5))
        << lanes << " lanes, " << micro_batches << " micro-batches of "
        << micro_batch;
  }
}

TEST_F(TrainerTest, DocumentMaskTrains) {
  // Documents shorter than a sequence.
  for (int i = 0; i < 40; ++i) {
    WriteTestFile(Path(absl::StrCat("short", i, ".txt")), RandomText(i, 15));
  }
  const Tensor without = FinalWeights(Config("without"));
  const std::vector<std::string> mask = {"data.document_mask=true"};
  const Tensor with = FinalWeights(Config("whole", mask));
  EXPECT_THAT(with, Not(IsNear(without, 1e-4)));
  for (double value : ToDoubles(with)) ASSERT_TRUE(std::isfinite(value));
  KillAfter(6, "whole", "resumed");
  ASSERT_TRUE(Run(Config("resumed", mask), "auto").ok());
  ExpectSameRun("whole", "resumed");
}

TEST_F(TrainerTest, SecondStartReusesTokenFiles) {
  ASSERT_TRUE(Run(Config("first")).ok());
  const auto inode = [&](const char* name) {
    struct stat info = {};
    EXPECT_EQ(stat(Path(name).c_str(), &info), 0) << name;
    return info.st_ino;
  };
  const auto files = {"cache/tokenizer.json", "cache/train.tokens",
                      "cache/held_out.tokens", "cache/corpus.json"};
  std::vector<ino_t> before;
  for (const char* file : files) before.push_back(inode(file));
  ASSERT_TRUE(Run(Config("second")).ok());
  size_t i = 0;
  for (const char* file : files) EXPECT_EQ(inode(file), before[i++]) << file;
  // Other text, other files.
  WriteTestFile(Path("d.txt"), RandomText(9, 6000));
  ASSERT_TRUE(Run(Config("third")).ok());
  EXPECT_NE(inode("cache/train.tokens"), before[1]);
}

TEST_F(TrainerTest, MakesDamagedTokenFilesAgain) {
  ASSERT_TRUE(Run(Config("whole")).ok());
  const auto before = *ReadFile(Path("cache/train.tokens"));
  std::string damaged = before;
  damaged[damaged.size() / 2] ^= 1;
  WriteTestFile(Path("cache/train.tokens"), damaged);
  ASSERT_TRUE(Run(Config("again")).ok());
  ExpectSameRun("whole", "again");
  EXPECT_TRUE(*ReadFile(Path("cache/train.tokens")) == before);
  // Token files that the user made are not ours to mend.
  WriteTestFile(Path("cache/train.tokens"), damaged);
  TrainConfig config = Config("given");
  config.mutable_data()->clear_source();
  config.mutable_data()->clear_cache_dir();
  config.mutable_data()->clear_held_out_fraction();
  config.mutable_data()->add_tokens(Path("cache/train.tokens"));
  config.mutable_data()->add_held_out_tokens(Path("cache/held_out.tokens"));
  config.mutable_data()->set_tokenizer(Path("cache/tokenizer.json"));
  const absl::Status status = Run(config);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(Path("cache/train.tokens")));
}

TEST_F(TrainerTest, AFreshStartWantsAnEmptyRun) {
  ASSERT_TRUE(Run(Config("run")).ok());
  const std::vector<std::string> metrics = Metrics("run");
  const absl::Status status = Run(Config("run"), "none");
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("newest of step 12"), HasSubstr("--resume")));
  EXPECT_EQ(Metrics("run"), metrics);
  // In a run without checkpoints, a fresh start begins its history anew.
  ASSERT_TRUE(RemoveTree(Path("run") + "/checkpoints").ok());
  ASSERT_TRUE(Run(Config("run"), "none").ok());
  EXPECT_EQ(Metrics("run"), metrics);
}

TEST_F(TrainerTest, RefusesACheckpointOfAnotherRun) {
  ASSERT_TRUE(Run(Config("run")).ok());
  const std::vector<std::string> metrics = Metrics("run");
  const std::string six = CheckpointDirectory(Path("run"), 6);
  struct {
    std::vector<std::string> overrides;
    std::string message;
  } const cases[] = {
      {{"model.hidden_size=40"},
       "model.hidden_size: is 40, the checkpoint's 32"},
      // The same shapes, another function.
      {{"model.num_heads=2", "model.kv_heads=1"},
       "model.num_heads: is 2, the checkpoint's 4"},
      {{"model.sliding_window=3"}, "model.sliding_window: is 3"},
      {{"model.vocab_size=400"}, "model.vocab_size: is 400"},
      {{"seed=6"}, "seed: is 6, the checkpoint's 5"},
      {{"steps=5", "schedule.warmup_steps=0"},
       "steps: is 5, the checkpoint has done 6"},
      {{"data.tokenizer_vocab_size=280", "data.cache_dir=" + Path("other")},
       "another tokenizer"},
      {{"optimizer.kind=SGD"},
       "optimizer.kind: is SGD, the checkpoint's ADAMW"},
      {{"batch.sequence_length=12"},
       "batch.sequence_length: is 12, the checkpoint's 24"},
      {{"data.document_mask=true"}, "data.document_mask: is true"},
      {{"data.held_out_fraction=0.5", "data.cache_dir=" + Path("half")},
       "data: the corpus: is "},
  };
  for (const auto& c : cases) {
    const absl::Status status = Run(Config("run", c.overrides), six);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(six), HasSubstr(c.message)));
    EXPECT_EQ(Metrics("run"), metrics) << "history of a refused run";
  }
  // What does not change the function may change.
  EXPECT_TRUE(Run(Config("run", {"model.dropout=0", "model.recompute=MLP",
                                 "optimizer.learning_rate=1e-3"}),
                  six)
                  .ok());
}

TEST_F(TrainerTest, ARunHasOneTrainer) {
  auto first = Trainer::Create(Config("run"), "none", Alone());
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status second =
      Trainer::Create(Config("run"), "none", Alone()).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.message()),
              AllOf(HasSubstr(Path("run")), HasSubstr("another process")));
  first->reset();
  EXPECT_TRUE(Trainer::Create(Config("run"), "none", Alone()).ok());
}

TEST_F(TrainerTest, RefusesWhatMemoryCannotHold) {
  const absl::Status status =
      Trainer::Create(Config("run", {"model.hidden_size=1048576"}), "none",
                      Alone())
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace nextword

// Whole training runs on a small text: the same bits however they are computed,
// interrupted or repeated, and what stops a run leaves it intact.
#include "distributed/trainer.h"

#include <sys/stat.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "autograd/base/directory.h"
#include "autograd/base/file.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "configs/batch_config.h"
#include "configs/config.h"
#include "configs/validate.h"
#include "distributed/run_checkpoints.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing.h"
#include "tests/testing_text.h"
#include "tests/testing_world.h"

namespace nextword {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kSteps = 12;

// Everything that a run can do, in little: dropout, lanes and micro-batches,
// clipping, a schedule, evaluation, samples and checkpoints.
constexpr char kConfig[] = R"(
  seed: 5 steps: 12
  model {
    layers: 2 hidden_size: 32 num_heads: 4 kv_heads: 2 context_length: 24
    position: ROPE norm: RMS_NORM activation: SWIGLU bias: false dropout: 0.1
  }
  data { tokenizer_vocab_size: 300 held_out_fraction: 0.1 }
  batch { lanes: 4 micro_batches: 2 micro_batch: 2 }
  optimizer { learning_rate: 1e-2 }
  schedule { kind: COSINE warmup_steps: 2 }
  evaluation { every: 4 max_sequences: 10 }
  sample { every: 6 tokens: 5 prompt: "the" }
  checkpoint { every: 3 keep: 0 }
  log { every: 2 })";

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = FreshDirectory(absl::StrCat(
        "trainer_",
        testing::UnitTest::GetInstance()->current_test_info()->name()));
    for (const char* name : {"a.txt", "b.txt", "c.txt"}) {
      WriteTestFile(Path(name), RandomText(name[0], 6000));
    }
    WriteTestFile(Path("config.textproto"), kConfig);
  }
  void TearDown() override { SetNumThreads(0); }

  std::string Path(const std::string& name) const {
    return absl::StrCat(folder_, "/", name);
  }

  // kConfig for the run `name`, with overrides as on the command line.
  TrainConfig Config(const std::string& name,
                     const std::vector<std::string>& overrides = {}) const {
    std::vector<std::string> all = {"run_dir=" + Path(name),
                                    "data.source=" + Path("*.txt"),
                                    "data.cache_dir=" + Path("cache")};
    all.insert(all.end(), overrides.begin(), overrides.end());
    const auto config = LoadTrainConfig(Path("config.textproto"), all);
    NW_CHECK_OK(config.status());
    NW_CHECK_OK(ValidateTrainConfig(*config, ConfigUse::kTrain));
    return *config;
  }

  // Of a run's checkpoints.
  std::vector<int64_t> Steps(const std::string& name) const {
    return *CheckpointSteps(Path(name));
  }

  // Starts or resumes a run and trains to its end.
  static absl::Status Run(const TrainConfig& config,
                          const std::string& resume = "none") {
    NW_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer,
                        Trainer::Create(config, resume, Alone()));
    return trainer->Run();
  }

  // The same with `ranks` ranks.
  static void RunInWorld(int ranks, const TrainConfig& config,
                         const std::string& resume = "none") {
    const int shards = ShardRanks(config.distributed(), ranks);
    InGroups(ranks, shards, [&](const RankGroups& groups) {
      const auto trainer = Trainer::Create(config, resume, groups);
      ASSERT_TRUE(trainer.ok()) << trainer.status();
      const absl::Status status = (*trainer)->Run();
      EXPECT_TRUE(status.ok()) << status;
    });
  }

  static Tensor FinalWeights(const TrainConfig& config) {
    const auto trainer = Trainer::Create(config, "none", Alone());
    NW_CHECK_OK(trainer.status());
    NW_CHECK_OK((*trainer)->Run());
    return (*trainer)->parameters().values();
  }

  // What is on the disk when the run `from` is killed between the checkpoint of
  // `step` and the next one: that checkpoint and those before it, and metrics
  // that have gone on.
  void KillAfter(int step, const std::string& from, const std::string& to) {
    fs::create_directories(Path(to) + "/checkpoints");
    for (int64_t saved : Steps(from)) {
      if (saved > step) continue;
      fs::copy(CheckpointDirectory(Path(from), saved),
               CheckpointDirectory(Path(to), saved),
               fs::copy_options::recursive);
    }
    fs::copy_file(Path(from) + "/metrics.jsonl", Path(to) + "/metrics.jsonl");
  }

  // A run's metrics but for its speed.
  std::vector<std::string> Metrics(const std::string& name) const {
    const std::string text = *ReadFile(Path(name) + "/metrics.jsonl");
    std::vector<std::string> lines;
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      if (line.empty()) continue;
      auto record = nlohmann::ordered_json::parse(line.begin(), line.end());
      record.erase("tokens_per_second");
      lines.push_back(record.dump());
    }
    return lines;
  }

  std::string CheckpointFile(const std::string& run, int step,
                             const std::string& file) const {
    return *ReadFile(
        absl::StrCat(CheckpointDirectory(Path(run), step), "/", file));
  }

  // Same weights and moments, in every byte, at the last step; same metrics.
  void ExpectSameRun(const std::string& a, const std::string& b) const {
    for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
      EXPECT_TRUE(CheckpointFile(a, kSteps, file) ==
                  CheckpointFile(b, kSteps, file))
          << file << " of " << a << " and " << b;
    }
    EXPECT_EQ(Metrics(a), Metrics(b));
  }

  std::string folder_;
};

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

TEST_F(TrainerTest, MixedPrecisionKeepsTheContract) {
  const std::vector<std::string> bf16 = {"compute_dtype=BF16"};
  SetNumThreads(1);
  ASSERT_TRUE(Run(Config("whole", bf16)).ok());
  SetNumThreads(2);
  KillAfter(6, "whole", "resumed");
  ASSERT_TRUE(Run(Config("resumed", bf16), "auto").ok());
  ExpectSameRun("whole", "resumed");
  ASSERT_TRUE(Run(Config("f32")).ok());
  EXPECT_FALSE(CheckpointFile("whole", kSteps, "model.safetensors") ==
               CheckpointFile("f32", kSteps, "model.safetensors"));
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

TEST_F(TrainerTest, RanksLeaveTheSameBits) {
  ASSERT_TRUE(Run(Config("one")).ok());
  for (const int ranks : {2, 4}) {
    const std::string name = absl::StrCat(ranks, "_ranks");
    RunInWorld(ranks, Config(name));
    ExpectSameRun("one", name);
  }
}

TEST_F(TrainerTest, AnotherNumberOfRanksResumesToTheSameBits) {
  ASSERT_TRUE(Run(Config("one")).ok());
  RunInWorld(4, Config("four", {"checkpoint.every=3"}));
  KillAfter(6, "four", "two");
  RunInWorld(2, Config("two"), "auto");
  ExpectSameRun("one", "two");
  KillAfter(9, "two", "alone");
  ASSERT_TRUE(Run(Config("alone"), "auto").ok());
  ExpectSameRun("one", "alone");
}

TEST_F(TrainerTest, ShardingLeavesTheSameBits) {
  // Small buckets, so that there are several of them.
  const std::vector<std::string> wide = {"model.hidden_size=96",
                                         "distributed.bucket_mb=1"};
  ASSERT_TRUE(Run(Config("one", wide)).ok());
  for (const char* sharding : {"OPTIMIZER", "GRADIENTS", "PARAMETERS"}) {
    std::vector<std::string> overrides = wide;
    overrides.push_back(absl::StrCat("distributed.sharding=", sharding));
    const auto name = [&](const char* what) {
      return absl::StrCat(what, "_", sharding);
    };
    RunInWorld(4, Config(name("four"), overrides));
    ExpectSameRun("one", name("four"));
    KillAfter(6, name("four"), name("two"));
    RunInWorld(2, Config(name("two"), overrides), "auto");
    ExpectSameRun("one", name("two"));
    KillAfter(6, "one", name("again"));
    RunInWorld(4, Config(name("again"), overrides), "auto");
    ExpectSameRun("one", name("again"));
  }
}

// Two nodes of two ranks each, which divide everything within a node.
TEST_F(TrainerTest, ShardingWithinNodesLeavesTheSameBits) {
  ASSERT_TRUE(Run(Config("one")).ok());
  for (const char* sharding : {"OPTIMIZER", "GRADIENTS", "PARAMETERS"}) {
    const std::vector<std::string> hybrid = {
        absl::StrCat("distributed.sharding=", sharding),
        "distributed.shard_ranks=2"};
    RunInWorld(4, Config(sharding, hybrid));
    ExpectSameRun("one", sharding);
    const std::string resumed = absl::StrCat(sharding, "_resumed");
    KillAfter(6, "one", resumed);
    RunInWorld(4, Config(resumed, hybrid), "auto");
    ExpectSameRun("one", resumed);
  }
}

TEST_F(TrainerTest, ShardingOfOtherKindsOfRunsLeavesTheSameBits) {
  const std::vector<std::vector<std::string>> kinds = {
      {"optimizer.kind=SGD"},
      {"compute_dtype=BF16"},
      {"model.recompute=true"},
      {"model.tied_embeddings=false", "model.position=LEARNED",
       "model.norm=LAYER_NORM", "model.activation=GELU", "model.bias=true"},
      {"batch.micro_batches=1", "batch.lanes=8"}};
  int number = 0;
  for (std::vector<std::string> overrides : kinds) {
    const std::string one = absl::StrCat("one", ++number);
    ASSERT_TRUE(Run(Config(one, overrides)).ok());
    for (const char* sharding : {"OPTIMIZER", "PARAMETERS"}) {
      overrides.push_back(absl::StrCat("distributed.sharding=", sharding));
      const std::string two = absl::StrCat("two", number, sharding);
      RunInWorld(2, Config(two, overrides));
      ExpectSameRun(one, two);
    }
  }
}

TEST_F(TrainerTest, RefusesRanksThatDoNotDivideTheLanes) {
  InWorld(8, [&](Communicator* communicator) {
    const absl::Status status =
        Trainer::Create(Config("run"), "none", communicator).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("batch.lanes: is 4, and the job has 8 ranks"));
  });
}

TEST_F(TrainerTest, RefusesRanksWithOtherData) {
  InWorld(4, [&](Communicator* communicator) {
    const bool odd = communicator->rank() == 2;
    const std::vector<std::string> other = {"data.source=" + Path("a.txt"),
                                            "data.cache_dir=" + Path("other")};
    const absl::Status status =
        Trainer::Create(odd ? Config("run", other) : Config("run"), "none",
                        communicator)
            .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("corpus: is not the same on all ranks"),
                      HasSubstr(" on rank 2"), HasSubstr("on ranks 0, 1, 3")));
  });
}

TEST_F(TrainerTest, RecomputationLeavesTheSameBits) {
  ASSERT_TRUE(Run(Config("kept")).ok());
  ASSERT_TRUE(Run(Config("made_again", {"model.recompute=true"})).ok());
  ExpectSameRun("kept", "made_again");
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
      {{"seed=6"}, "seed 5, the config says 6"},
      {{"steps=5", "schedule.warmup_steps=0"}, "has done 6 steps"},
      {{"data.tokenizer_vocab_size=280", "data.cache_dir=" + Path("other")},
       "another tokenizer"},
      {{"optimizer.kind=SGD"}, "momentum"},
  };
  for (const auto& c : cases) {
    const absl::Status status = Run(Config("run", c.overrides), six);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(six), HasSubstr(c.message)));
    EXPECT_EQ(Metrics("run"), metrics) << "history of a refused run";
  }
  // What does not change the function may change.
  EXPECT_TRUE(Run(Config("run", {"model.dropout=0", "model.recompute=true",
                                 "optimizer.learning_rate=1e-3"}),
                  six)
                  .ok());
}

// A step so long that the second step makes nothing of the weights after it.
// Checkpoints are due at each.
absl::Status Diverge(TrainConfig config, double learning_rate) {
  config.mutable_optimizer()->set_learning_rate(learning_rate);
  config.mutable_optimizer()->set_clip_norm(0);
  config.mutable_schedule()->set_warmup_steps(0);
  config.mutable_checkpoint()->set_every(1);
  NW_ASSIGN_OR_RETURN(const auto trainer,
                      Trainer::Create(config, "none", Alone()));
  return trainer->Run();
}

TEST_F(TrainerTest, StopsAtALossThatIsNoNumber) {
  const absl::Status status = Diverge(Config("run"), 1e15);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("step 2: the loss is "), HasSubstr("nan over"),
                    HasSubstr("it has saved are intact")));
  EXPECT_THAT(Steps("run"), ElementsAre(1));
  EXPECT_TRUE(OpenCheckpoint(Path("run")).ok());
}

// With weights so large, norms divide by infinity: the logits are zero and the
// loss is finite, but nothing of its gradient is.
TEST_F(TrainerTest, StopsAtAGradientThatIsNoNumber) {
  const absl::Status status = Diverge(Config("run"), 1e20);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("over 384 tokens"),
                    HasSubstr("it has saved are intact")));
  EXPECT_THAT(Steps("run"), ElementsAre(1));
  EXPECT_TRUE(OpenCheckpoint(Path("run")).ok());
}

// Infinite weights from the first step on: there is nothing worth saving.
TEST_F(TrainerTest, SavesNoWeightsThatAreNoNumbers) {
  const absl::Status status = Diverge(Config("run"), 1e39);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("step 1: some weights are not finite"));
  EXPECT_THAT(Steps("run"), ElementsAre());
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

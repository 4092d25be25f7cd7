// Runs that are stopped, whose saves fail, or whose steps go wrong: nothing is
// lost, and in the end they have the bits of a run that was left alone.
#include <cerrno>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "autograd/base/directory.h"
#include "autograd/base/fault_point.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "autograd/base/stop.h"
#include "distributed/run_checkpoints.h"
#include "distributed/trainer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_training.h"
#include "tests/testing_world.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using End = Trainer::End;

// What happens at a fault point, of whatever thread.
std::function<int(absl::string_view operation, const std::string& path)> fault;

int AskFault(const char* operation, const std::string& path) {
  return fault(operation, path);
}

int CountLines(const std::vector<std::string>& lines, absl::string_view word) {
  int count = 0;
  for (const std::string& line : lines) count += absl::StrContains(line, word);
  return count;
}

std::vector<std::string> With(std::vector<std::string> overrides,
                              const std::pair<const char*, const char*>& more) {
  overrides.push_back(absl::StrCat(more.first, more.second));
  return overrides;
}

class TrainerInterruptionsTest : public TrainingTest {
 protected:
  void TearDown() override {
    SetFaultHook(nullptr);
    ForgetStop();
    TrainingTest::TearDown();
  }

  // From now on, `call` decides on each call to the system.
  static void SetFault(decltype(fault) call) {
    fault = std::move(call);
    SetFaultHook(AskFault);
  }

  // The run is asked to stop when it writes the `count`-th line of its metrics:
  // with log.every 1, evaluations and samples, lines are of all that it does.
  static void StopAtLine(int count) {
    SetFault([count, seen = 0](absl::string_view operation,
                               const std::string& path) mutable {
      if (operation == "write" && absl::EndsWith(path, "metrics.jsonl")) {
        // Where faults are tried out, a line is written in two parts.
        if (++seen == 2 * count) RequestStop("a test");
      }
      return 0;
    });
  }

  const std::vector<std::string> every_line_ = {"log.every=1"};
  // In which samples are a good part of what a run does.
  const std::vector<std::string> long_samples_ = {"log.every=1",
                                                  "sample.tokens=300"};
};

TEST_F(TrainerInterruptionsTest, StoppedAnywhereResumesToTheSameBits) {
  ASSERT_TRUE(Run(Config("whole", every_line_)).ok());
  const int lines = static_cast<int>(Metrics("whole").size());
  ASSERT_EQ(lines, 12 + 3 + 2);
  // At the last two there is nothing left to be stopped.
  for (int line = 1; line < lines - 1; ++line) {
    SCOPED_TRACE(line);
    const std::string name = absl::StrCat("stopped_", line);
    StopAtLine(line);
    ASSERT_TRUE(Run(Config(name, every_line_), "none", End::kStopped).ok());
    SetFaultHook(nullptr);
    ForgetStop();
    // Of the step that it was at, and as complete as it was.
    ASSERT_TRUE(Run(Config(name, every_line_), "auto").ok());
    ExpectSameRun("whole", name);
  }
}

// Wherever somebody asks whether to stop: between any two kernels of training
// and evaluation, tokens of a sample, files that are read.
TEST_F(TrainerInterruptionsTest, StoppedBetweenKernelsResumesToTheSameBits) {
  for (const auto& [dtype, stride] :
       {std::pair{"F32", 211}, std::pair{"FP8", 701}}) {
    const auto overrides = With(long_samples_, {"compute_dtype=", dtype});
    const std::string whole = absl::StrCat("whole_", dtype);
    ASSERT_TRUE(Run(Config(whole, overrides)).ok());
    int stopped = 0;
    for (int64_t poll = 5;; poll += stride) {
      const std::string name = absl::StrCat(dtype, "_", poll);
      SCOPED_TRACE(name);
      const TrainConfig config = Config(name, overrides);
      RequestStopAtPoll(poll);
      const absl::StatusOr<End> end = [&]() -> absl::StatusOr<End> {
        NW_ASSIGN_OR_RETURN(const auto trainer,
                            Trainer::Create(config, "none", Alone()));
        return trainer->Run();
      }();
      ForgetStop();
      ASSERT_TRUE(end.ok()) << end.status();
      if (*end == End::kDone) break;
      ++stopped;
      ASSERT_TRUE(Run(config, "auto").ok());
      ExpectSameRun(whole, name);
    }
    EXPECT_GT(stopped * stride, 6000);
  }
}

TEST_F(TrainerInterruptionsTest, RanksStopTogether) {
  ASSERT_TRUE(Run(Config("whole", every_line_)).ok());
  for (const char* sharding : {"NONE", "OPTIMIZER", "PARAMETERS"}) {
    for (const int line : {1, 6, 7, 10}) {
      SCOPED_TRACE(absl::StrCat(sharding, " ", line));
      const std::string name = absl::StrCat(sharding, "_", line);
      const TrainConfig config = Config(
          name,
          {"log.every=1", absl::StrCat("distributed.sharding=", sharding)});
      StopAtLine(line);
      RunInWorld(2, config, "none", End::kStopped);
      SetFaultHook(nullptr);
      ForgetStop();
      RunInWorld(4, config, "auto");
      ExpectSameRun("whole", name);
    }
  }
}

// Each at a place of its own: what one has not computed, none may use.
TEST_F(TrainerInterruptionsTest, RanksStoppedBetweenKernelsStopTogether) {
  for (const char* dtype : {"F32", "FP8"}) {
    const auto overrides = With(long_samples_, {"compute_dtype=", dtype});
    ASSERT_TRUE(Run(Config(dtype, overrides)).ok());
  }
  for (const auto& [sharding, dtype] :
       {std::pair{"NONE", "F32"}, std::pair{"GRADIENTS", "F32"},
        std::pair{"PARAMETERS", "F32"}, std::pair{"GRADIENTS", "FP8"}}) {
    for (const int64_t poll : {150, 1501, 5003, 8192}) {
      const std::string name = absl::StrCat(sharding, "_", dtype, "_", poll);
      SCOPED_TRACE(name);
      const TrainConfig config =
          Config(name, With(With(long_samples_, {"compute_dtype=", dtype}),
                            {"distributed.sharding=", sharding}));
      RequestStopAtPoll(poll);
      RunInWorld(2, config, "none", End::kStopped);
      ForgetStop();
      RunInWorld(2, config, "auto");
      ExpectSameRun(dtype, name);
    }
  }
}

TEST_F(TrainerInterruptionsTest, ARunThatHasNotBegunSavesNothing) {
  RequestStop("a test");
  EXPECT_EQ(Trainer::Create(Config("run"), "none", Alone()).status().code(),
            absl::StatusCode::kCancelled);
  ForgetStop();
  const auto trainer = Trainer::Create(Config("run"), "none", Alone());
  ASSERT_TRUE(trainer.ok()) << trainer.status();
  RequestStop("a test");
  const auto end = (*trainer)->Run();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(*end, End::kStopped);
  EXPECT_THAT(Steps("run"), ElementsAre());
}

TEST_F(TrainerInterruptionsTest, SavingInTheBackgroundLeavesTheSameFiles) {
  const std::vector<std::string> now = {"checkpoint.asynchronous=false"};
  ASSERT_TRUE(Run(Config("now", now)).ok());
  ASSERT_TRUE(Run(Config("background")).ok());
  EXPECT_EQ(Steps("now"), Steps("background"));
  for (const int64_t step : Steps("now")) {
    for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
      EXPECT_TRUE(CheckpointFile("now", step, file) ==
                  CheckpointFile("background", step, file))
          << step << " " << file;
    }
  }
  for (const char* sharding : {"OPTIMIZER", "GRADIENTS", "PARAMETERS"}) {
    RunInWorld(
        4, Config(sharding, {absl::StrCat("distributed.sharding=", sharding)}));
    for (const int64_t step : Steps("now")) {
      for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
        EXPECT_TRUE(CheckpointFile("now", step, file) ==
                    CheckpointFile(sharding, step, file))
            << sharding << " " << step << " " << file;
      }
    }
  }
}

// Every checkpoint from the second on meets a full disk.
int FullDisk(absl::string_view operation, const std::string& path) {
  const bool full = operation == "write" && !absl::StrContains(path, "-3/") &&
                    absl::StrContains(path, "/checkpoints/");
  return full ? ENOSPC : 0;
}

TEST_F(TrainerInterruptionsTest, AFullDiskStopsTheRun) {
  for (const char* mode : {"true", "false"}) {
    SetFault(FullDisk);
    const absl::Status status =
        Run(Config(mode, {absl::StrCat("checkpoint.asynchronous=", mode)}));
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("model.safetensors"),
                      HasSubstr("No space left on device")));
    SetFaultHook(nullptr);
    EXPECT_THAT(Steps(mode), ElementsAre(3));
    EXPECT_TRUE(OpenCheckpoint(Path(mode)).ok());
  }
}

TEST_F(TrainerInterruptionsTest, AFullDiskNeedNotStopTheRun) {
  ASSERT_TRUE(Run(Config("whole")).ok());
  const std::vector<std::string> go_on = {"checkpoint.on_failure=GO_ON"};
  // Room again for the last.
  SetFault([](absl::string_view operation, const std::string& path) {
    return absl::StrContains(path, "-12/") ? 0 : FullDisk(operation, path);
  });
  ASSERT_TRUE(Run(Config("room", go_on)).ok());
  SetFaultHook(nullptr);
  EXPECT_THAT(Steps("room"), ElementsAre(3, 12));
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    EXPECT_TRUE(CheckpointFile("whole", kSteps, file) ==
                CheckpointFile("room", kSteps, file));
  }
  // The last must succeed.
  SetFault(FullDisk);
  EXPECT_EQ(Run(Config("full", go_on)).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Steps("full"), ElementsAre(3));
}

// Where the metrics cannot be written, their lines wait, and checkpoints, too.
TEST_F(TrainerInterruptionsTest, MetricsWaitForADisk) {
  const std::vector<std::string> go_on = {"checkpoint.on_failure=GO_ON"};
  ASSERT_TRUE(Run(Config("whole", go_on)).ok());
  int writes = 0;
  SetFault([&](absl::string_view operation, const std::string& path) {
    const bool metrics =
        operation == "write" && absl::EndsWith(path, "metrics.jsonl");
    if (!metrics) return 0;
    ++writes;
    return writes > 2 && writes < 10 ? ENOSPC : 0;
  });
  ASSERT_TRUE(Run(Config("waits", go_on)).ok());
  SetFaultHook(nullptr);
  std::vector<std::string> lines;
  for (const std::string& line : Metrics("waits")) {
    if (!absl::StrContains(line, "not_saved")) lines.push_back(line);
  }
  EXPECT_EQ(lines, Metrics("whole"));
  SetFault([&](absl::string_view operation, const std::string& path) {
    return operation == "write" && absl::EndsWith(path, "metrics.jsonl")
               ? ENOSPC
               : 0;
  });
  EXPECT_EQ(Run(Config("stops")).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(TrainerInterruptionsTest, DamagedCheckpointsAreSetAside) {
  ASSERT_TRUE(Run(Config("run")).ok());
  ASSERT_TRUE(Run(Config("whole")).ok());
  const std::string path =
      CheckpointDirectory(Path("run"), 12) + "/model.safetensors";
  std::string bytes = *ReadFile(path);
  bytes[bytes.size() / 2] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  // A run that is refused leaves its files as they were.
  EXPECT_FALSE(Run(Config("run", {"seed=6"}), "auto").ok());
  EXPECT_THAT(Steps("run"), ElementsAre(3, 6, 9, 12));
  ASSERT_TRUE(Run(Config("run"), "auto").ok());
  EXPECT_TRUE(IsDirectory(Path("run") + "/checkpoints/damaged-step-00000012"));
  ExpectSameRun("whole", "run");
}

// A step so long that the second step makes nothing of the weights after it.
// Checkpoints are due at each.
absl::Status Diverge(TrainConfig config, double learning_rate) {
  config.mutable_optimizer()->set_learning_rate(learning_rate);
  config.mutable_optimizer()->set_clip_norm(0);
  config.mutable_schedule()->set_warmup_steps(0);
  config.mutable_checkpoint()->set_every(1);
  config.mutable_stability()->set_max_skipped_steps(3);
  NW_ASSIGN_OR_RETURN(const auto trainer,
                      Trainer::Create(config, "none", Alone()));
  return trainer->Run().status();
}

TEST_F(TrainerInterruptionsTest, StopsAfterLossesThatAreNoNumbers) {
  const absl::Status status = Diverge(Config("run"), 1e15);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("step 4: "), HasSubstr("3 steps in a row")));
  // With the weights of the last good step.
  EXPECT_THAT(Steps("run"), ElementsAre(1, 2, 3, 4));
  for (const int step : {2, 3, 4}) {
    EXPECT_TRUE(CheckpointFile("run", step, "model.safetensors") ==
                CheckpointFile("run", 1, "model.safetensors"));
    EXPECT_TRUE(CheckpointFile("run", step, "optimizer.safetensors") ==
                CheckpointFile("run", 1, "optimizer.safetensors"));
  }
  const auto last = OpenCheckpoint(Path("run"));
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->manifest().run().skipped_steps(), 3);
  EXPECT_EQ(last->manifest().next_sequence(), 4 * 16);
  EXPECT_EQ(CountLines(Metrics("run"), "\"skipped_steps\":"), 3);
}

// With weights so large, norms divide by infinity: the logits are zero and the
// loss is finite, but nothing of its gradient is.
TEST_F(TrainerInterruptionsTest, StopsAfterGradientsThatAreNoNumbers) {
  const absl::Status status = Diverge(Config("run"), 1e20);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("3 steps in a row"));
  EXPECT_EQ(CountLines(Metrics("run"),
                       "\"bad_parameter\":\"blocks.0.attn_norm.weight\""),
            3);
}

// Infinite weights from the first step on: there is nothing worth saving.
TEST_F(TrainerInterruptionsTest, SavesNoWeightsThatAreNoNumbers) {
  const absl::Status status = Diverge(Config("run"), 1e39);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("step 1: some weights are not finite"));
  EXPECT_THAT(Steps("run"), ElementsAre());
}

// What counts as a spike here is noise, so that there are some.
const std::vector<std::string> kSpiky = {"log.every=1",
                                         "optimizer.learning_rate=1e-5",
                                         "schedule.kind=CONSTANT",
                                         "stability.spike_window=3",
                                         "stability.spike_z_score=2",
                                         "stability.max_rollbacks=50"};

TEST_F(TrainerInterruptionsTest, GoesBackBeforeASpikeAndOnBehindIt) {
  ASSERT_TRUE(Run(Config("whole", kSpiky)).ok());
  const std::vector<std::string> metrics = Metrics("whole");
  EXPECT_GT(CountLines(metrics, "rolled_back_from"), 0);
  // One line for each step, whatever happened on the way.
  EXPECT_EQ(CountLines(metrics, "\"loss\""), kSteps);
  const auto last = OpenCheckpoint(Path("whole"));
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_GT(last->manifest().run().rollbacks(), 0);
  EXPECT_GT(last->manifest().next_sequence(), kSteps * 16);
  EXPECT_EQ(last->manifest().run().recent_loss_size(), 3);

  for (const char* sharding : {"NONE", "PARAMETERS"}) {
    std::vector<std::string> overrides = kSpiky;
    overrides.push_back(absl::StrCat("distributed.sharding=", sharding));
    RunInWorld(2, Config(sharding, overrides));
    ExpectSameRun("whole", sharding);
  }
  const int lines = static_cast<int>(metrics.size());
  for (int line = 1; line < lines - 1; line += 2) {
    SCOPED_TRACE(line);
    const std::string name = absl::StrCat("stopped_", line);
    StopAtLine(line);
    ASSERT_TRUE(Run(Config(name, kSpiky), "none", End::kStopped).ok());
    SetFaultHook(nullptr);
    ForgetStop();
    ASSERT_TRUE(Run(Config(name, kSpiky), "auto").ok());
    ExpectSameRun("whole", name);
  }
}

TEST_F(TrainerInterruptionsTest, GoesBackInEightBits) {
  const auto overrides = With(kSpiky, {"compute_dtype=", "FP8"});
  ASSERT_TRUE(Run(Config("whole", overrides)).ok());
  const std::vector<std::string> metrics = Metrics("whole");
  EXPECT_GT(CountLines(metrics, "rolled_back_from"), 0);
  for (const int line : {4, static_cast<int>(metrics.size()) - 3}) {
    const std::string name = absl::StrCat("stopped_", line);
    StopAtLine(line);
    ASSERT_TRUE(Run(Config(name, overrides), "none", End::kStopped).ok());
    SetFaultHook(nullptr);
    ForgetStop();
    ASSERT_TRUE(Run(Config(name, overrides), "auto").ok());
    ExpectSameRun("whole", name);
  }
  RunInWorld(2, Config("ranks", overrides));
  ExpectSameRun("whole", "ranks");
}

TEST_F(TrainerInterruptionsTest, StopsAfterTooManyRollbacks) {
  std::vector<std::string> overrides = kSpiky;
  overrides.push_back("stability.spike_z_score=0.5");
  overrides.push_back("stability.max_rollbacks=1");
  const absl::Status status = Run(Config("run", overrides));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_TRUE(OpenCheckpoint(Path("run")).ok());
}

}  // namespace
}  // namespace nextword

// Jobs of real processes, started by `nextword launch`: the same files at any
// number of ranks and any sharding, and the memory that `check` predicts.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "autograd/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing_cli.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kSteps = 20;

class DataParallelTest : public CliTest {
 protected:
  // `nextword launch` of `command` as `ranks` processes.
  static Outcome Launch(int ranks, const Arguments& command) {
    Arguments arguments = {"launch", "--nproc", absl::StrCat(ranks), "--"};
    arguments.insert(arguments.end(), command.begin(), command.end());
    return Nextword(arguments);
  }

  Arguments Overrides(const std::string& run, int steps) const {
    return {Text(),
            "run_dir=" + Path(run),
            absl::StrCat("steps=", steps),
            "batch.lanes=8",
            "batch.micro_batch=1",
            "checkpoint.every=10",
            "schedule.kind=CONSTANT",
            "distributed.bucket_mb=1"};
  }

  // A run of `ranks` ranks in a folder of its own.
  void Run(const std::string& run, int ranks, const std::string& sharding,
           int steps = kSteps, const Arguments& more = {}) const {
    Arguments overrides = Overrides(run, steps);
    overrides.push_back("distributed.sharding=" + sharding);
    const Outcome outcome = Launch(ranks, Train(overrides, more));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.errors;
  }

  // Of the last checkpoint.
  std::string File(const std::string& run, const std::string& name) const {
    return *ReadFile(
        absl::StrCat(Path(run), "/checkpoints/step-000000", kSteps, "/", name));
  }

  void ExpectSameFiles(const std::string& run) const {
    for (const char* name : {"model.safetensors", "optimizer.safetensors"}) {
      EXPECT_TRUE(File("one", name) == File(run, name))
          << name << " of " << run;
    }
  }
};

TEST_F(DataParallelTest, TheSameFilesAtAnyNumberOfRanks) {
  const Outcome one = Nextword(Train(Overrides("one", kSteps)));
  ASSERT_EQ(one.exit_code, 0) << one.errors;
  struct {
    int ranks;
    const char* sharding;
  } const cases[] = {{2, "NONE"},       {2, "GRADIENTS"}, {4, "OPTIMIZER"},
                     {4, "PARAMETERS"}, {8, "NONE"},      {8, "PARAMETERS"}};
  for (const auto& [ranks, sharding] : cases) {
    const std::string run = absl::StrCat(ranks, sharding);
    Run(run, ranks, sharding);
    ExpectSameFiles(run);
  }
  // A job that ends half-way goes on with another number of ranks and another
  // sharding.
  Run("changed", 8, "GRADIENTS", 10);
  Run("changed", 2, "PARAMETERS", kSteps, {"--resume", "auto"});
  ExpectSameFiles("changed");
}

// Where nodes of two ranks divide everything within a node; and the trace of a
// job is that of its first rank.
TEST_F(DataParallelTest, ShardsWithinNodes) {
  const Outcome one = Nextword(Train(Overrides("one", kSteps)));
  ASSERT_EQ(one.exit_code, 0) << one.errors;
  Arguments overrides = Overrides("four", kSteps);
  overrides.push_back("distributed.sharding=PARAMETERS");
  overrides.push_back("distributed.shard_ranks=2");
  const Outcome outcome = Launch(4, Train(overrides, {"--profile", "2"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.errors;
  ExpectSameFiles("four");
  EXPECT_TRUE(ReadFile(Path("four/profile.json")).ok());

  Arguments check = {"check", "--config", Path("config.textproto")};
  for (const char* set :
       {"model.vocab_size=300", "batch.lanes=8",
        "distributed.sharding=GRADIENTS", "distributed.shard_ranks=4"}) {
    check.insert(check.end(), {"--set", set});
  }
  EXPECT_EQ(Nextword(check).exit_code, 0);
  check.insert(check.end(), {"--ranks", "8"});
  EXPECT_EQ(Nextword(check).exit_code, 0);
  check.back() = "2";
  const Outcome refused = Nextword(check);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.errors,
              HasSubstr("distributed.shard_ranks: is 4, and the job has 2"));
}

TEST_F(DataParallelTest, RefusesRanksThatTheLanesDoNotDivide) {
  Arguments overrides = Overrides("run", kSteps);
  overrides.push_back("batch.lanes=2");
  const Outcome outcome = Launch(4, Train(overrides));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.errors,
              AllOf(HasSubstr("batch.lanes: is 2, and the job has 4 ranks")));
}

TEST_F(DataParallelTest, SaysWhereTheSeparatorIsMissing) {
  Arguments arguments = {"launch", "--nproc", "2"};
  const Arguments train = Train({Text()});
  arguments.insert(arguments.end(), train.begin(), train.end());
  const Outcome outcome = Nextword(arguments);
  EXPECT_GT(outcome.exit_code, 0);
  EXPECT_THAT(outcome.errors, HasSubstr("launch wants -- before what it runs"));
}

#ifndef __SANITIZE_ADDRESS__
// On a model that is large enough to outweigh the program.
TEST_F(DataParallelTest, RanksTakeTheMemoryThatWasPredicted) {
  for (const char* sharding :
       {"NONE", "OPTIMIZER", "GRADIENTS", "PARAMETERS"}) {
    const Outcome outcome = Launch(
        2, {"bench",    "--what",
            "step",     "--json",
            "--config", "configs/quickstart.textproto",
            "--warmup", "1",
            "--steps",  "1",
            "--set",    "model.vocab_size=16384",
            "--set",    "model.hidden_size=768",
            "--set",    "batch.lanes=2",
            "--set",    "batch.micro_batch=1",
            "--set",    absl::StrCat("distributed.sharding=", sharding)});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.errors;
    std::string text;
    for (absl::string_view line : absl::StrSplit(outcome.output, '\n')) {
      if (absl::ConsumePrefix(&line, "[rank 0] ")) {
        absl::StrAppend(&text, line, "\n");
      }
    }
    const auto json = nlohmann::json::parse(text);
    EXPECT_EQ(json["ranks"], 2);
    EXPECT_NEAR(
        double{json["max_resident_bytes"]} / double{json["predicted_bytes"]}, 1,
        0.1)
        << sharding;
    const double share = double{json["bytes_sent_per_step"]} /
                         double{json["ring_bytes_per_step"]};
    // The norm's parts and the loss come on top; whoever has only pieces of the
    // weights fetches them twice.
    EXPECT_GE(share, 1) << sharding;
    EXPECT_LE(share, absl::string_view(sharding) == "PARAMETERS" ? 2.5 : 1.01)
        << sharding;
  }
}
#endif

}  // namespace
}  // namespace nextword

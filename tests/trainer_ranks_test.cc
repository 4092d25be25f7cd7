// Training by several ranks: the same bits at any number of them, however they
// divide the state, and refusals where they do not belong together.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "distributed/trainer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_training.h"
#include "tests/testing_world.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using TrainerRanksTest = TrainingTest;

TEST_F(TrainerRanksTest, RanksLeaveTheSameBits) {
  ASSERT_TRUE(Run(Config("one")).ok());
  for (const int ranks : {2, 4}) {
    const std::string name = absl::StrCat(ranks, "_ranks");
    RunInWorld(ranks, Config(name));
    ExpectSameRun("one", name);
  }
}

TEST_F(TrainerRanksTest, AnotherNumberOfRanksResumesToTheSameBits) {
  ASSERT_TRUE(Run(Config("one")).ok());
  RunInWorld(4, Config("four", {"checkpoint.every=3"}));
  KillAfter(6, "four", "two");
  RunInWorld(2, Config("two"), "auto");
  ExpectSameRun("one", "two");
  KillAfter(9, "two", "alone");
  ASSERT_TRUE(Run(Config("alone"), "auto").ok());
  ExpectSameRun("one", "alone");
}

TEST_F(TrainerRanksTest, ShardingLeavesTheSameBits) {
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
TEST_F(TrainerRanksTest, ShardingWithinNodesLeavesTheSameBits) {
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

TEST_F(TrainerRanksTest, ShardingOfOtherKindsOfRunsLeavesTheSameBits) {
  const std::vector<std::vector<std::string>> kinds = {
      {"optimizer.kind=SGD"},
      {"compute_dtype=BF16"},
      {"compute_dtype=BF16", "model.residual_in_bf16=true"},
      {"compute_dtype=BF16", "optimizer.stochastic_rounding=true"},
      {"compute_dtype=FP8", "model.activation=GELU_TANH"},
      {"model.recompute=BLOCK"},
      {"model.tied_embeddings=false", "model.position=LEARNED",
       "model.norm=LAYER_NORM", "model.activation=GELU", "model.bias=true"},
      {"batch.micro_batches=1", "batch.lanes=8"},
      // Vectors enough for both ranks.
      {"model.mlp_size=20000", "model.activation=GELU", "model.bias=true"}};
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

TEST_F(TrainerRanksTest, RefusesRanksThatDoNotDivideTheLanes) {
  InWorld(8, [&](Communicator* communicator) {
    const absl::Status status =
        Trainer::Create(Config("run"), "none", communicator).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("batch.lanes: is 4, and the job has 8 ranks"));
  });
}

TEST_F(TrainerRanksTest, RefusesRanksWithOtherData) {
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

}  // namespace
}  // namespace nextword

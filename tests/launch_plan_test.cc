// What a launcher makes of its options and of a scheduler's variables, and its
// other parts that start no process.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "distributed/launcher/environment.h"
#include "distributed/launcher/launch_plan.h"
#include "distributed/launcher/line_splitter.h"
#include "distributed/launcher/restart_policy.h"
#include "distributed/launcher/slurm.h"
#include "distributed/launcher/token.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using ::testing::StartsWith;

const EnvironmentMap kSlurm = {{"SLURM_JOB_NUM_NODES", "4"},
                               {"SLURM_STEP_NUM_NODES", "4"},
                               {"SLURM_STEP_NODELIST", "gpu[03-05,11]"},
                               {"SLURM_NODEID", "2"},
                               {"SLURM_LOCALID", "0"},
                               {"SLURM_JOB_ID", "1234567"},
                               {"SLURM_JOB_NODELIST", "gpu[03-05,11]"},
                               {"NEXTWORD_TOKEN", "secret"}};

std::string ErrorOf(const LaunchOptions& options,
                    const EnvironmentMap& environment) {
  const auto plan = PlanLaunch(options, environment);
  return plan.ok() ? "OK" : std::string(plan.status().message());
}

TEST(LaunchPlanTest, ASingleNodeNeedsNothing) {
  const auto plan = PlanLaunch({.nproc = 3}, {});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->world_size(), 3);
  EXPECT_EQ(plan->first_rank(), 0);
  EXPECT_EQ(plan->coordinator, "127.0.0.1:0");
  EXPECT_EQ(plan->listen, "127.0.0.1:0");
  EXPECT_FALSE(plan->has_port());
  EXPECT_EQ(plan->run_id, "");
}

TEST(LaunchPlanTest, SeveralNodesByOptions) {
  const auto plan = PlanLaunch({.nproc = 8,
                                .nnodes = 3,
                                .node_rank = 2,
                                .coordinator = "node0:2940",
                                .listen = "0.0.0.0:2940",
                                .run_id = "my-job",
                                .token_file = "token"},
                               {});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->world_size(), 24);
  EXPECT_EQ(plan->first_rank(), 16);
  EXPECT_EQ(plan->coordinator, "node0:2940");
  EXPECT_EQ(plan->listen, "0.0.0.0:2940");
  EXPECT_TRUE(plan->has_port());
}

TEST(LaunchPlanTest, AllThatSeveralNodesLackIsNamedAtOnce) {
  EXPECT_THAT(
      ErrorOf({.nnodes = 2}, {}),
      AllOf(HasSubstr("a job of 2 nodes"),
            HasSubstr("--node-rank: not given, wanted this node's "
                      "number, 0 to 1"),
            HasSubstr("--coordinator: not given"),
            HasSubstr("--run-id: not given"),
            HasSubstr("--token-file: not given"), HasSubstr("NEXTWORD_TOKEN")));
  EXPECT_THAT(ErrorOf({.nnodes = 2, .node_rank = 2}, kSlurm),
              AllOf(HasSubstr("--node-rank: is 2, wanted 0 to 1"),
                    Not(HasSubstr("--run-id")), Not(HasSubstr("token"))));
}

TEST(LaunchPlanTest, RefusesWhatCannotBe) {
  EXPECT_THAT(ErrorOf({.node_rank = 1}, {}), HasSubstr("--node-rank: is 1"));
  EXPECT_THAT(ErrorOf({.coordinator = "node0"}, {}),
              HasSubstr("--coordinator: is \"node0\", wanted HOST:PORT"));
  EXPECT_THAT(ErrorOf({.run_id = "a job"}, {}),
              HasSubstr("--run-id: is \"a job\""));
  LaunchOptions options = {
      .nnodes = 2, .node_rank = 0, .coordinator = "n:0", .run_id = "x"};
  EXPECT_THAT(ErrorOf(options, {{"NEXTWORD_TOKEN", "t"}}),
              HasSubstr("--coordinator: is n:0, wanted a port from 1"));
}

TEST(LaunchPlanTest, ReadsSlurm) {
  const auto plan = PlanLaunch({.nproc = 8}, kSlurm);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->nnodes, 4);
  EXPECT_EQ(plan->node_rank, 2);
  EXPECT_EQ(plan->coordinator, absl::StrCat("gpu03:", 20000 + 1234567 % 12000));
  EXPECT_EQ(plan->run_id, "1234567");
  // What is given counts more.
  const auto alone = PlanLaunch({.nnodes = 1}, kSlurm);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ(alone->coordinator, "127.0.0.1:0");
  const auto named =
      PlanLaunch({.coordinator = "x:1", .run_id = "mine"}, kSlurm);
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ(named->coordinator, "x:1");
  EXPECT_EQ(named->run_id, "mine");
}

TEST(LaunchPlanTest, NamesTheSlurmVariableThatIsWrong) {
  for (const auto& [name, value] :
       EnvironmentMap{{"SLURM_STEP_NUM_NODES", "many"},
                      {"SLURM_NODEID", ""},
                      {"SLURM_LOCALID", "1"},
                      {"SLURM_STEP_NODELIST", "gpu["},
                      {"SLURM_JOB_ID", "x"}}) {
    EnvironmentMap environment = kSlurm;
    environment[name] = value;
    EXPECT_THAT(ErrorOf({}, environment), HasSubstr(name));
  }
  EnvironmentMap environment = kSlurm;
  environment["SLURM_NODEID"] = "4";
  EXPECT_THAT(ErrorOf({}, environment), HasSubstr("--node-rank: is 4"));
  environment = kSlurm;
  environment.erase("NEXTWORD_TOKEN");
  EXPECT_THAT(ErrorOf({}, environment), HasSubstr("--token-file: not given"));
}

TEST(LaunchPlanTest, ASlurmStepMayHaveFewerNodesThanTheJob) {
  // As of `srun -N2 -r1` in a job of four nodes.
  EnvironmentMap environment = kSlurm;
  environment["SLURM_STEP_NUM_NODES"] = "2";
  environment["SLURM_STEP_NODELIST"] = "gpu[04-05]";
  environment["SLURM_NODEID"] = "1";
  const auto plan = PlanLaunch({}, environment);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->nnodes, 2);
  EXPECT_EQ(plan->node_rank, 1);
  EXPECT_THAT(plan->coordinator, StartsWith("gpu04:"));
}

TEST(LaunchPlanTest, ABatchScriptOfSeveralNodesIsToldToUseSrun) {
  EnvironmentMap environment = kSlurm;
  environment.erase("SLURM_STEP_NUM_NODES");
  environment.erase("SLURM_STEP_NODELIST");
  environment["SLURM_NODEID"] = "0";
  EXPECT_THAT(ErrorOf({}, environment),
              AllOf(HasSubstr("this Slurm job has 4 nodes"),
                    HasSubstr("srun --ntasks-per-node=1 nextword launch")));
  const auto started_otherwise = PlanLaunch({.node_rank = 3}, environment);
  ASSERT_TRUE(started_otherwise.ok()) << started_otherwise.status();
  EXPECT_EQ(started_otherwise->node_rank, 3);
  EXPECT_THAT(started_otherwise->coordinator, StartsWith("gpu03:"));
}

TEST(LaunchPlanTest, FirstHostOfSlurmsLists) {
  for (const auto& [list, host] :
       std::vector<std::pair<std::string, std::string>>{
           {"node7", "node7"},
           {"n0,n1", "n0"},
           {"node[0-3,7]", "node0"},
           {"node[007,009-011],login1", "node007"},
           {"rack[2-3]-node[08-09].local", "rack2-node08.local"}}) {
    const auto first = FirstHost(list);
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_EQ(*first, host);
  }
  for (const char* list : {"", ",a", "a[", "a[]", "a[x]", "a]b", "a b"}) {
    EXPECT_FALSE(FirstHost(list).ok()) << list;
  }
}

TEST(LaunchPlanTest, ReadsKubernetesIndexedJobs) {
  const LaunchOptions options = {
      .nnodes = 4, .coordinator = "job-0.job:29400", .run_id = "job"};
  const EnvironmentMap pod = {{"JOB_COMPLETION_INDEX", "3"},
                              {"NEXTWORD_TOKEN", "t"}};
  const auto plan = PlanLaunch(options, pod);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->node_rank, 3);
  LaunchOptions given = options;
  given.node_rank = 1;
  EXPECT_EQ(PlanLaunch(given, pod)->node_rank, 1);
  // A job of one node may be one of many that an indexed job runs.
  EXPECT_EQ(ErrorOf({}, pod), "OK");
}

TEST(LaunchPlanTest, AddressesHaveAHostAndAPort) {
  EXPECT_THAT(*SplitAddress("x", "node0:29"), Pair("node0", 29));
  EXPECT_THAT(*SplitAddress("x", "[fe80::1]:29"), Pair("fe80::1", 29));
  for (const char* address : {"", "a", ":1", "a:", "a:x", "a:-1", "a:65536",
                              "fe80::1", "[]:1", "a b:1"}) {
    EXPECT_FALSE(SplitAddress("x", address).ok()) << address;
  }
}

TEST(LaunchPlanTest, RanksFindTheirVariables) {
  LaunchPlan plan;
  plan.nproc = 4;
  plan.nnodes = 2;
  plan.node_rank = 1;
  plan.run_id = "job";
  const EnvironmentMap environment = RankEnvironment(
      plan, 3, "[fe80::1]:29400", "secret",
      {{"HOME", "/home/me"}, {"OMP_NUM_THREADS", "7"}, {"RANK", "99"}});
  EXPECT_THAT(
      VariableList(environment),
      ElementsAre("HOME=/home/me", "LOCAL_RANK=3", "LOCAL_WORLD_SIZE=4",
                  "MASTER_ADDR=fe80::1", "MASTER_PORT=29400",
                  "NEXTWORD_COORDINATOR=[fe80::1]:29400", "NEXTWORD_LAUNCHED=1",
                  "NEXTWORD_RUN_ID=job", "NEXTWORD_TOKEN=secret",
                  "OMP_NUM_THREADS=7", "RANK=7", "WORLD_SIZE=8"));
}

TEST(LaunchPlanTest, RestartsResumeFromTheNewestCheckpoint) {
  EXPECT_THAT(RestartArguments({"train", "--config", "c"}),
              ElementsAre("train", "--config", "c", "--resume", "auto"));
  EXPECT_THAT(RestartArguments({"train", "--resume", "none", "--config", "c"}),
              ElementsAre("train", "--config", "c", "--resume", "auto"));
  EXPECT_THAT(RestartArguments({"train", "--config", "c", "--resume=x"}),
              ElementsAre("train", "--config", "c", "--resume", "auto:x"));
  EXPECT_THAT(RestartArguments({"train", "--resume", "auto:x"}),
              ElementsAre("train", "--resume", "auto:x"));
  EXPECT_THAT(RestartArguments({"version"}), ElementsAre("version"));
}

TEST(LaunchPlanTest, PausesDoubleAndStartOverAfterProgress) {
  RestartPolicy policy({.max_restarts = 8, .max_pause = absl::Seconds(20)});
  for (const int seconds : {1, 2, 4, 8, 16, 20, 20}) {
    EXPECT_EQ(policy.AfterFailure(absl::Minutes(9)), absl::Seconds(seconds));
  }
  EXPECT_EQ(policy.AfterFailure(absl::Minutes(11)), absl::Seconds(1));
  EXPECT_EQ(policy.AfterFailure(absl::Minutes(1)), absl::Seconds(2));
  EXPECT_EQ(policy.restarts(), 2);
  RestartPolicy never({.max_restarts = 0});
  EXPECT_EQ(never.AfterFailure(absl::Hours(1)), std::nullopt);
  RestartPolicy twice({.max_restarts = 2});
  EXPECT_TRUE(twice.AfterFailure(absl::Seconds(1)).has_value());
  EXPECT_TRUE(twice.AfterFailure(absl::Seconds(1)).has_value());
  EXPECT_FALSE(twice.AfterFailure(absl::Seconds(1)).has_value());
}

TEST(LaunchPlanTest, TokensComeFromAFileAVariableOrTheSystem) {
  const std::string path = FreshDirectory("token") + "/token";
  WriteTestFile(path, "from-the-file\n");
  EXPECT_EQ(*JobToken(path, {{"NEXTWORD_TOKEN", "x"}}), "from-the-file");
  EXPECT_EQ(*JobToken("", {{"NEXTWORD_TOKEN", "x"}}), "x");
  const std::string random = *JobToken("", {});
  EXPECT_EQ(random.size(), 32);
  EXPECT_NE(random, *JobToken("", {}));
}

TEST(LaunchPlanTest, ABadTokenIsRefusedWithoutBeingShown) {
  const std::string path = FreshDirectory("token") + "/token";
  for (const char* bad : {"", "\n", "my secret", "geheimnis\xc3\xbc"}) {
    WriteTestFile(path, bad);
    const auto token = JobToken(path, {});
    ASSERT_FALSE(token.ok());
    EXPECT_THAT(std::string(token.status().message()),
                AllOf(HasSubstr(path), Not(HasSubstr("secret")),
                      Not(HasSubstr("geheim"))));
  }
  EXPECT_FALSE(JobToken("", {{"NEXTWORD_TOKEN", ""}}).ok());
  EXPECT_FALSE(JobToken("/nowhere/token", {{"NEXTWORD_TOKEN", "x"}}).ok());
}

// The lines of a stream that arrives in these parts.
std::vector<std::string> Split(const std::vector<std::string>& parts) {
  std::vector<std::string> lines;
  LineSplitter splitter;
  const auto take = [&](absl::string_view line) { lines.emplace_back(line); };
  for (const std::string& part : parts) splitter.Add(part, take);
  splitter.Finish(take);
  return lines;
}

TEST(LaunchPlanTest, LinesAreWholeHoweverTheyArrive) {
  EXPECT_THAT(Split({"a\nb", "c\n", "\n", "d\n\ne"}),
              ElementsAre("a", "bc", "", "d", "", "e"));
  EXPECT_THAT(Split({}), ElementsAre());
  EXPECT_THAT(Split({std::string("a\0b\r\n", 5)}),
              ElementsAre(std::string("a\0b\r", 4)));
}

TEST(LaunchPlanTest, LongLinesComeInPieces) {
  const std::string most(LineSplitter::kMaxLine, 'x');
  EXPECT_THAT(Split({most + "\n", most, "\ny\n"}),
              ElementsAre(most, most, "y"));
  EXPECT_THAT(Split({most + "y\nz"}), ElementsAre(most, "y", "z"));
  EXPECT_THAT(Split({most + most + most, "y\n"}),
              ElementsAre(most, most, most, "y"));
  // Not within a character.
  const std::string almost = most.substr(1);
  EXPECT_THAT(Split({almost + "\xc3\xa4z\n"}),
              ElementsAre(almost, "\xc3\xa4z"));
}

}  // namespace
}  // namespace nextword

// Ranks that die, stop, hang or fail, and networks that stall or break.
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "distributed/rendezvous/activity.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_proxy.h"
#include "tests/testing_rendezvous.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Rank 0 here, and rank 1 in a process of its own.
class TwoRanks : public testing::Test {
 protected:
  void Begin(Coordinator::Options options, const std::string& phase,
             const std::string& detail) {
    coordinator_ = StartCoordinator(2, options);
    auto launcher_options = LauncherOptions(coordinator_->address());
    launcher_options.on_abort = launcher_heard_.Listener();
    auto launcher = LauncherClient::Connect(launcher_options);
    ASSERT_TRUE(launcher.ok()) << launcher.status();
    launcher_ = *std::move(launcher);
    Join(phase, detail);
  }

  void Join(const std::string& phase, const std::string& detail) {
    process_.emplace(coordinator_->address(), 1, 2, phase, detail, 12);
    SetActivityStep(12);
    auto rank_options = RankOptions(coordinator_->address(), 0, 2);
    rank_options.on_abort = heard_.Listener();
    Joined joined = RendezvousClient::Join(rank_options);
    ASSERT_TRUE(joined.ok()) << joined.status();
    rank_ = *std::move(joined);
    ASSERT_TRUE(rank_->Get("here", kPatience).ok());
  }

  const ActivityScope activity_{"all-reduce", "bucket 2",
                                ActivityKind::kWaitsForOthers};
  Heard heard_, launcher_heard_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<LauncherClient> launcher_;
  std::optional<RankProcess> process_;
  std::unique_ptr<RendezvousClient> rank_;
};

TEST_F(TwoRanks, AKilledProcessIsNoticedAtOnce) {
  Begin({}, "backward", "");
  const std::string name =
      absl::StrCat("rank 1 on node-b (pid ", process_->pid(), ")");
  const absl::Time before = absl::Now();
  process_->Signal(SIGKILL);
  const std::string sentence = name +
                               " ended without a word in backward of step 12; "
                               "rank 0 waits in all-reduce of bucket 2";
  EXPECT_EQ(heard_.Wait(), sentence);
  EXPECT_LT(absl::Now() - before, absl::Seconds(3));
  EXPECT_EQ(launcher_heard_.Wait(), sentence);
  EXPECT_EQ(coordinator_->Wait().ToString(), "ABORTED: " + sentence);
  EXPECT_EQ(rank_->status().ToString(), "ABORTED: " + sentence);
  EXPECT_EQ(rank_->Put("k", "v").ToString(), "ABORTED: " + sentence);

  // The job starts again with the same coordinator and launcher.
  rank_ = nullptr;
  process_->Wait();
  Join("forward", "");
  EXPECT_EQ(rank_->generation(), 2);
  process_->Signal(SIGKILL);
  process_->Wait();
  EXPECT_TRUE(launcher_->Report(1, "killed by signal 9 (Killed)").ok());
  EXPECT_THAT(heard_.Wait(2),
              HasSubstr("ended in forward of step 12: killed by signal 9"));
  EXPECT_EQ(launcher_heard_.Wait(2), heard_.Wait(2));
  EXPECT_EQ(launcher_heard_.count(), 2u);
}

TEST_F(TwoRanks, AStoppedProcessIsNoticedByItsSilence) {
  Coordinator::Options options;
  options.heartbeat_timeout = absl::Seconds(1);
  Begin(options, "checkpoint", "/runs/a");
  process_->Signal(SIGSTOP);
  EXPECT_THAT(
      heard_.Wait(),
      AllOf(HasSubstr("rank 1 on node-b has sent no sign of life for 1"),
            HasSubstr(" s, last in checkpoint (/runs/a) of step 12; rank 0 "
                      "waits in all-reduce")));
  // When it goes on, it hears of it and ends.
  process_->Signal(SIGCONT);
  EXPECT_EQ(process_->Wait(), 75);
}

TEST_F(TwoRanks, AStuckPhaseIsNamed) {
  Coordinator::Options options;
  options.phase_deadlines.by_phase["data read"] = absl::Milliseconds(500);
  Begin(options, "data read", "train.tokens");
  EXPECT_THAT(heard_.Wait(),
              HasSubstr("rank 1 on node-b has been in data read (train.tokens) "
                        "of step 12 for "));
  EXPECT_EQ(process_->Wait(), 75);
}

TEST_F(TwoRanks, ARankTellsWhyItFails) {
  Begin({}, "forward", "");
  // Whoever waits for a value hears of it, too.
  absl::Status waited;
  std::thread waiting(
      [&] { waited = rank_->Get("never", absl::Minutes(1)).status(); });
  EXPECT_TRUE(rank_->Fail("loss is\nnot finite").ok());
  waiting.join();
  EXPECT_EQ(waited.ToString(), "ABORTED: rank 0 on node-0: loss is not finite");
  EXPECT_EQ(launcher_heard_.Wait(), "rank 0 on node-0: loss is not finite");
  EXPECT_EQ(process_->Wait(), 75);
  EXPECT_EQ(heard_.count(), 0u);  // It knows.
}

TEST(RendezvousFailure, AStallOfTheNetworkIsSurvived) {
  Coordinator::Options coordinator_options;
  coordinator_options.heartbeat_timeout = absl::Seconds(3);
  const auto coordinator = StartCoordinator(1, coordinator_options);
  TestProxy network(coordinator->address());
  Heard heard;
  auto options = RankOptions(network.address(), 0, 1);
  options.on_abort = heard.Listener();
  options.coordinator_timeout = absl::Seconds(3);
  const Joined joined = RendezvousClient::Join(options);
  ASSERT_TRUE(joined.ok()) << joined.status();
  network.Stall(true);
  absl::SleepFor(absl::Milliseconds(1500));
  network.Stall(false);
  EXPECT_TRUE((*joined)->Put("k", "v").ok());
  EXPECT_TRUE((*joined)->status().ok());
  EXPECT_EQ(heard.count(), 0u);
  EXPECT_TRUE((*joined)->Leave().ok());
  EXPECT_TRUE(coordinator->Wait().ok());
}

TEST(RendezvousFailure, ACutNetworkIsNoticedAtBothEnds) {
  Coordinator::Options coordinator_options;
  coordinator_options.heartbeat_timeout = absl::Milliseconds(700);
  const auto coordinator = StartCoordinator(1, coordinator_options);
  TestProxy network(coordinator->address());
  Heard heard;
  auto options = RankOptions(network.address(), 0, 1);
  options.on_abort = heard.Listener();
  options.coordinator_timeout = absl::Milliseconds(700);
  const Joined joined = RendezvousClient::Join(options);
  ASSERT_TRUE(joined.ok()) << joined.status();
  network.Stall(true);
  EXPECT_EQ(heard.Wait(), "the coordinator at " + network.address() +
                              " has not answered for 0.7 s");
  EXPECT_THAT(coordinator->Wait().ToString(),
              HasSubstr("rank 0 on node-0 has sent no sign of life for "));
  EXPECT_TRUE(absl::IsUnavailable((*joined)->status()));
}

TEST(RendezvousFailure, ALostCoordinatorIsNamed) {
  auto coordinator = StartCoordinator(1);
  TestProxy network(coordinator->address());
  Heard heard;
  auto options = RankOptions(network.address(), 0, 1);
  options.on_abort = heard.Listener();
  Joined joined = RendezvousClient::Join(options);
  ASSERT_TRUE(joined.ok()) << joined.status();
  network.Cut();
  EXPECT_THAT(heard.Wait(), HasSubstr("the coordinator at " +
                                      network.address() + " is gone"));
  EXPECT_THAT(coordinator->Wait().ToString(), HasSubstr("without a word"));
  // One that stops says so.
  options.address = coordinator->address();
  joined = RendezvousClient::Join(options);
  ASSERT_TRUE(joined.ok()) << joined.status();
  coordinator->Stop();
  EXPECT_EQ(heard.Wait(2), "the coordinator was stopped");
}

}  // namespace
}  // namespace nextword

// What a launcher hears of its job, and what it must not hear: old news.
#include "distributed/rendezvous/launcher_client.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_proxy.h"
#include "tests/testing_rendezvous.h"

namespace nextword {
namespace {

using ::testing::HasSubstr;

// A coordinator of one rank, which a launcher reaches through a network.
class LateNews : public testing::Test {
 protected:
  LateNews() : coordinator_(StartCoordinator(1)) {}

  void Connect(const std::string& address) {
    auto options = LauncherOptions(address);
    options.on_abort = heard_.Listener();
    options.on_unreachable = [this] { lost_.Listener()("unreachable"); };
    auto launcher = LauncherClient::Connect(options);
    ASSERT_TRUE(launcher.ok()) << launcher.status();
    launcher_ = *std::move(launcher);
  }

  // A generation begins, and the launcher hears of it.
  std::unique_ptr<RendezvousClient> Begin(int64_t generation) {
    Joined joined =
        RendezvousClient::Join(RankOptions(coordinator_->address(), 0, 1));
    EXPECT_TRUE(joined.ok()) << joined.status();
    EXPECT_TRUE(
        Eventually([&] { return launcher_->generation() == generation; }));
    return *std::move(joined);
  }

  // Another coordinator at the address of the first.
  void Replace() {
    Coordinator::Options options;
    options.listen = coordinator_->address();
    coordinator_ = nullptr;
    ASSERT_TRUE(Eventually([&] { return !launcher_->connected(); }));
    coordinator_ = StartCoordinator(1, options);
    ASSERT_TRUE(Eventually([&] { return launcher_->connected(); }));
  }

  // The answer to a rank's Fail may be overtaken by the end of the job.
  static void Fail(RendezvousClient* rank, const std::string& sentence) {
    rank->Fail(sentence).IgnoreError();
  }

  Heard heard_, lost_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<LauncherClient> launcher_;
};

TEST_F(LateNews, OfAGenerationDoNotReachTheRanksAfterIt) {
  TestProxy network(coordinator_->address());
  Connect(network.address());
  auto rank = Begin(1);
  network.Stall(true);
  Fail(rank.get(), "it is late");
  EXPECT_FALSE(coordinator_->Wait().ok());
  launcher_->ExpectNextGeneration();
  network.Stall(false);
  rank = Begin(2);
  Fail(rank.get(), "it is new");
  EXPECT_EQ(heard_.Wait(), "rank 0 on node-0: it is new");
  EXPECT_EQ(heard_.count(), 1u);
}

TEST_F(LateNews, OfALostCoordinatorDoNotReachRanksThatWaitForIt) {
  Connect(coordinator_->address());
  const auto lost = Begin(1);
  launcher_->ExpectNextGeneration();
  Replace();
  EXPECT_EQ(heard_.count(), 0u);
  // Whose first generation is not that of the first coordinator.
  const auto rank = Begin(1);
  Fail(rank.get(), "it is new");
  EXPECT_EQ(heard_.Wait(), "rank 0 on node-0: it is new");
}

TEST_F(LateNews, OfACoordinatorThatEndsAfterAllHaveLeftAreNoNews) {
  Connect(coordinator_->address());
  auto rank = Begin(1);
  EXPECT_TRUE(rank->Leave().ok());
  EXPECT_TRUE(coordinator_->Wait().ok());
  rank = nullptr;
  Replace();
  EXPECT_EQ(heard_.count(), 0u);
  EXPECT_EQ(lost_.count(), 0u);
}

TEST_F(LateNews, OfALostCoordinatorReachTheRanksThatWork) {
  TestProxy network(coordinator_->address());
  Connect(network.address());
  launcher_->ExpectNextGeneration();
  const auto rank = Begin(1);
  network.Cut();
  EXPECT_THAT(heard_.Wait(), HasSubstr("is gone"));
  // And does not come back.
  EXPECT_EQ(lost_.Wait(), "unreachable");
}

}  // namespace
}  // namespace nextword

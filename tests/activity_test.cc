// What a process says that it is doing.
#include "distributed/rendezvous/activity.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

TEST(Activity, ScopesNestAndRestoreWhatSurroundsThem) {
  EXPECT_EQ(CurrentActivity().phase, "");
  EXPECT_EQ(CurrentActivity().step, -1);
  {
    const ActivityScope outer("backward");
    SetActivityStep(12);
    const absl::Time before = absl::Now();
    {
      const ActivityScope inner("all-reduce", "bucket 2",
                                ActivityKind::kWaitsForOthers);
      const Activity activity = CurrentActivity();
      EXPECT_EQ(activity.phase, "all-reduce");
      EXPECT_EQ(activity.detail, "bucket 2");
      EXPECT_EQ(activity.step, 12);
      EXPECT_EQ(activity.kind, ActivityKind::kWaitsForOthers);
      EXPECT_GE(activity.since, before);
      EXPECT_LE(activity.since, absl::Now());
    }
    EXPECT_EQ(CurrentActivity().phase, "backward");
    EXPECT_EQ(CurrentActivity().detail, "");
    EXPECT_EQ(CurrentActivity().kind, ActivityKind::kWorks);
    EXPECT_GE(CurrentActivity().since, before);
  }
  EXPECT_EQ(CurrentActivity().phase, "");
}

TEST(Activity, OnlyAChangeRenewsSince) {
  const ActivityScope scope("forward");
  SetActivityStep(1);
  const absl::Time since = CurrentActivity().since;
  SetActivityStep(1);
  EXPECT_EQ(CurrentActivity().since, since);
  SetActivityStep(2);
  EXPECT_GT(CurrentActivity().since, since);
}

TEST(Activity, ScopesMayEndInAnyOrder) {
  auto first = std::make_unique<ActivityScope>("first");
  auto second = std::make_unique<ActivityScope>("second");
  first.reset();
  EXPECT_EQ(CurrentActivity().phase, "second");
  second.reset();
  EXPECT_EQ(CurrentActivity().phase, "");
}

TEST(Activity, RemembersTheLastHundred) {
  SetActivityStep(7);
  for (int i = 0; i < 150; ++i) {
    const ActivityScope scope("data read", absl::StrCat("shard ", i));
  }
  const std::vector<std::string> events = RecentEvents();
  ASSERT_EQ(events.size(), 100u);
  EXPECT_THAT(events.front(),
              testing::HasSubstr("step 7: data read (shard 50)"));
  EXPECT_THAT(events.back(),
              testing::HasSubstr("step 7: data read (shard 149)"));
}

TEST(Activity, ThreadsDoNotDisturbEachOther) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 2000; ++i) {
        const ActivityScope outer(absl::StrCat("thread ", t));
        const ActivityScope inner("inner");
        SetActivityStep(i);
        EXPECT_NE(CurrentActivity().phase, "");
        if (i % 500 == 0) RecentEvents();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(CurrentActivity().phase, "");
}

}  // namespace
}  // namespace nextword

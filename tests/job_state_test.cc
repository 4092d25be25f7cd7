// The rules of a rendezvous, with a clock of the test's own.
#include "distributed/rendezvous/job_state.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "distributed/rendezvous/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_job.h"

namespace nextword::rendezvous {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

JobState::Options WithDeadlines(
    const std::map<std::string, absl::Duration>& by_phase,
    absl::Duration others = absl::ZeroDuration()) {
  JobState::Options options;
  options.phase_deadlines = {by_phase, others};
  return options;
}

TEST(JobState, BeginsWhenAllAreHereAndEndsWhenAllHaveLeft) {
  TestJob job(3);
  EXPECT_TRUE(job.Join(2).ok());
  EXPECT_TRUE(job.Join(0).ok());
  EXPECT_FALSE(job.Started(0));
  EXPECT_EQ(job.Beat(0)->waiting_for(),
            "2 of 3 ranks are here; rank 1 is missing");
  EXPECT_TRUE(job.Join(1).ok());
  for (int rank : {0, 1, 2}) EXPECT_TRUE(job.Started(rank));
  EXPECT_EQ(job.Beat(0)->waiting_for(), "");
  EXPECT_TRUE(job.Leave(1).ok());
  EXPECT_EQ(job.EndOf(1), "OK");
  job.Close(1);  // What follows Leave is no death.
  job.Do(0, "a");
  job.Do(2, "a");
  job.Pass(absl::Seconds(60));
  EXPECT_TRUE(job.Leave(0).ok());
  EXPECT_TRUE(job.Leave(2).ok());
  EXPECT_THAT(job.news(), ElementsAre("1 started", "1 ended"));
}

TEST(JobState, RefusesASecondLivingRankByName) {
  TestJob job(2);
  ASSERT_TRUE(job.Join(1).ok());
  JoinRequest second = job.Request(1);
  second.set_host("node-c");
  second.set_pid(12);
  const std::string sentence =
      "ALREADY_EXISTS: rank 1 is already here: host node-1, pid 101; a second "
      "one at node-c, pid 12 was refused";
  EXPECT_EQ(job.state().Join(second, job.now()).status().ToString(), sentence);
  ASSERT_TRUE(job.Join(0).ok());
  EXPECT_EQ(job.state().Join(second, job.now()).status().ToString(), sentence);
  // The first one is not disturbed.
  EXPECT_TRUE(job.Beat(1).ok());
  EXPECT_TRUE(job.Leave(0).ok() && job.Leave(1).ok());
  EXPECT_EQ(job.LastNews(), "1 ended");
}

TEST(JobState, RefusesWhoBelongsElsewhere) {
  TestJob job(4);
  JoinRequest request = job.Request(3);
  request.set_run_id("other\n");
  EXPECT_EQ(job.Join(request).message(),
            "rank 3 at node-3 belongs to run 'other ', and the coordinator to "
            "run 'run'");
  request = job.Request(3);
  request.set_world_size(8);
  EXPECT_EQ(job.Join(request).message(),
            "rank 3 at node-3 has a world of 8 ranks, and the coordinator one "
            "of 4");
  for (int rank : {-1, 4, std::numeric_limits<int>::max(),
                   std::numeric_limits<int>::min()}) {
    EXPECT_THAT(std::string(job.Join(rank).message()),
                HasSubstr("wanted a rank from 0 to 3"));
  }
  request = job.Request(3);
  request.set_protocol(7);
  EXPECT_THAT(std::string(job.Join(request).message()),
              HasSubstr("speaks protocol 7"));
  WatchRequest watch;
  watch.set_protocol(kProtocol);
  watch.set_run_id("other");
  watch.set_node("node-b");
  EXPECT_EQ(job.state().CheckWatch(watch).message(),
            "the launcher on node-b belongs to run 'other', and the "
            "coordinator to run 'run'");
}

TEST(JobState, RefusesWhatIsTooLarge) {
  TestJob job(1);
  JoinRequest request = job.Request(0);
  request.set_host(std::string(kMaxHostBytes + 1, 'h'));
  EXPECT_THAT(std::string(job.Join(request).message()), HasSubstr("257 bytes"));
  request.clear_host();
  EXPECT_FALSE(job.Join(request).ok());
  request = job.Request(0);
  for (int i = 0; i <= kMaxFacts; ++i) request.add_fact()->set_name("f");
  EXPECT_THAT(std::string(job.Join(request).message()), HasSubstr("257 facts"));
  request = job.Request(0);
  request.add_fact()->set_value(std::string(kMaxFactValueBytes + 1, 'v'));
  EXPECT_FALSE(job.Join(request).ok());
  request = job.Request(0);
  request.add_fact()->set_name(std::string(kMaxFactNameBytes + 1, 'v'));
  EXPECT_FALSE(job.Join(request).ok());
  ASSERT_TRUE(job.Join(0).ok());
  EXPECT_FALSE(job.Put(0, "", "x").ok());
  EXPECT_FALSE(job.Put(0, std::string(kMaxKeyBytes + 1, 'k'), "x").ok());
  EXPECT_TRUE(job.Put(0, std::string(kMaxKeyBytes, 'k'), "x").ok());
  EXPECT_FALSE(job.Put(0, "k", std::string(kMaxValueBytes + 1, 'v')).ok());
  job.Get(1, 0, std::string(kMaxKeyBytes + 1, 'k'), 1);
  EXPECT_THAT(job.AnswerTo(1), HasSubstr("INVALID_ARGUMENT"));
}

TEST(JobState, ItsMemoryIsBounded) {
  TestJob job(1);
  ASSERT_TRUE(job.Join(0).ok());
  const std::string value(kMaxValueBytes, 'v');
  absl::Status status;
  size_t stored = 0;
  while (status.ok() && stored < 300) {
    status = job.Put(0, absl::StrCat("key", stored), value);
    if (status.ok()) ++stored;
  }
  EXPECT_EQ(stored, kMaxStoreBytes / kMaxValueBytes - 1);
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  // One that is there already may be replaced.
  EXPECT_TRUE(job.Put(0, "key0", value).ok());
  for (uint64_t call = 0; call <= kMaxWaitingGets; ++call) {
    job.Get(call, 0, "never", 1);
  }
  EXPECT_EQ(job.AnswerTo(0), "");
  EXPECT_THAT(job.AnswerTo(kMaxWaitingGets), HasSubstr("RESOURCE_EXHAUSTED"));
}

TEST(JobState, NamesTheOddOneWhoseFactsDiffer) {
  TestJob job(4);
  for (int rank : {0, 1, 2, 3}) {
    JoinRequest request = job.Request(rank);
    request.add_fact()->set_name("binary");
    auto* fact = request.add_fact();
    fact->set_name("config");
    fact->set_value(rank == 1 ? "12ab" : "34cd");
    ASSERT_TRUE(job.Join(request).ok());
  }
  const std::string sentence =
      "rank 1 on node-1: config is 12ab, the other 3 ranks have 34cd";
  for (int rank : {0, 1, 2, 3}) {
    EXPECT_EQ(job.EndOf(rank), "FAILED_PRECONDITION: " + sentence);
    EXPECT_FALSE(job.Started(rank));
  }
  EXPECT_THAT(job.news(), ElementsAre("1 aborted: " + sentence));
  // The next attempt is free of it.
  ASSERT_TRUE(job.JoinAll().ok());
  EXPECT_EQ(job.LastNews(), "2 started");
}

TEST(JobState, NamesAllSidesWhenThereIsNoMajority) {
  TestJob job(4);
  for (int rank : {0, 1, 2, 3}) {
    JoinRequest request = job.Request(rank);
    auto* fact = request.add_fact();
    fact->set_name("corpus");
    fact->set_value(rank < 2 ? "a" : "b");
    ASSERT_TRUE(job.Join(request).ok());
  }
  EXPECT_EQ(job.LastNews(),
            "1 aborted: corpus differs: ranks 0, 1 have a, ranks 2, 3 have b");
  TestJob two(2);
  JoinRequest request = two.Request(1);
  auto* fact = request.add_fact();
  fact->set_name("corpus");
  fact->set_value("a");
  ASSERT_TRUE(two.Join(0).ok() && two.Join(request).ok());
  EXPECT_EQ(two.LastNews(),
            "1 aborted: corpus differs: rank 0 on node-0 has unknown, rank 1 "
            "on node-1 has a");
}

TEST(JobState, SaysWhoDidNotCome) {
  JobState::Options options;
  options.start_timeout = absl::Minutes(10);
  TestJob job(20, options);
  for (int rank : {0, 1, 2}) {
    ASSERT_TRUE(job.Join(rank).ok());
    job.Do(rank, "start");
  }
  job.Pass(absl::Minutes(10) - absl::Seconds(1));
  EXPECT_EQ(job.EndOf(0), "");
  job.Pass(absl::Seconds(2));
  EXPECT_EQ(job.EndOf(0),
            "DEADLINE_EXCEEDED: after 10 min only 3 of 20 ranks are here; "
            "ranks 3, 4, 5, 6, 7, 8, 9, 10 and 9 more are missing");
}

TEST(JobState, WhoEndsWhileItWaitsMayComeAgain) {
  TestJob job(2);
  ASSERT_TRUE(job.Join(0).ok());
  job.Close(0);
  EXPECT_TRUE(job.Join(0).ok());
  EXPECT_TRUE(job.Join(1).ok());
  EXPECT_TRUE(job.Started(0));
}

TEST(JobState, WhoIsCutOffWhileItWaitsIsNotInTheWay) {
  TestJob job(2);
  ASSERT_TRUE(job.Join(0).ok());
  job.Pass(absl::Seconds(11));
  EXPECT_THAT(job.EndOf(0), HasSubstr("no sign of life for 10 s"));
  EXPECT_TRUE(job.Join(0).ok());
  EXPECT_THAT(job.news(), IsEmpty());
}

TEST(JobState, ASuccessorWaitsForTheNextGeneration) {
  TestJob job(2);
  ASSERT_TRUE(job.JoinAll().ok());
  job.Close(1);
  EXPECT_TRUE(job.Join(1).ok());  // Its predecessor is dead.
  EXPECT_FALSE(job.Started(1));
  job.Do(0, "a");
  job.Do(1, "a");
  job.Pass(absl::Seconds(1));
  EXPECT_THAT(job.EndOf(0), HasSubstr("rank 1 on node-1 (pid 101) ended"));
  EXPECT_EQ(job.EndOf(1), "");
  EXPECT_TRUE(job.Join(0).ok());
  EXPECT_TRUE(job.Started(0));
  EXPECT_TRUE(job.Started(1));
  EXPECT_EQ(job.state().generation(), 2);
}

TEST(JobState, ALateReportDoesNotSpoilTheNextGeneration) {
  TestJob job(2);
  ASSERT_TRUE(job.JoinAll().ok());
  EXPECT_TRUE(job.Report(1, "killed by signal 9", 101).ok());
  ASSERT_TRUE(job.Join(1).ok());
  // Of the process that the launcher ended because of the abort.
  EXPECT_TRUE(job.Report(0, "killed by signal 15", 100).ok());
  EXPECT_EQ(job.EndOf(1), "");
  ASSERT_TRUE(job.Join(0).ok());
  EXPECT_EQ(job.LastNews(), "2 started");
}

TEST(JobState, AReportMeantForTheCoordinatorBeforeDoesNotSpoilTheStart) {
  TestJob job(2);
  ASSERT_TRUE(job.Join(0).ok());
  EXPECT_TRUE(job.Report(1, "exit code 75", 55, 4711).ok());
  EXPECT_EQ(job.EndOf(0), "");
  EXPECT_TRUE(job.Report(1, "exit code 75", 55, 1).ok());
  EXPECT_THAT(job.EndOf(0), HasSubstr("exit code 75"));
}

TEST(JobState, ARankThatCannotStartIsTold) {
  TestJob job(2);
  ASSERT_TRUE(job.Join(0).ok());
  EXPECT_TRUE(job.Report(1, "exit code 1", 55).ok());
  EXPECT_EQ(job.EndOf(0),
            "ABORTED: rank 1 on node-1 ended before all ranks were here: exit "
            "code 1");
  EXPECT_THAT(job.LastNews(), HasSubstr("1 aborted: rank 1 on node-1"));
  EXPECT_FALSE(job.Report(2, "exit code 1").ok());
  // It is told, too: the report may be of a process that only started it.
  ASSERT_TRUE(job.Join(1).ok());
  EXPECT_TRUE(job.Report(1, "exit code 2").ok());
  EXPECT_THAT(job.EndOf(1), HasSubstr("exit code 2"));
}

TEST(JobState, ValuesAreSharedAndWaitedFor) {
  TestJob job(2);
  ASSERT_TRUE(job.Join(0).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(job.Put(0, "k", "v")));
  ASSERT_TRUE(job.Join(1).ok());
  job.Get(1, 1, "k", 100);
  job.Get(2, 1, "other", 1);
  EXPECT_EQ(job.AnswerTo(1), "");
  EXPECT_TRUE(job.Put(0, "k", std::string("v\0w", 3)).ok());
  EXPECT_EQ(job.AnswerTo(1), std::string("v\0w", 3));
  job.Get(3, 0, "k", 0);
  EXPECT_EQ(job.AnswerTo(3), std::string("v\0w", 3));
  job.Do(0, "a");
  job.Do(1, "a");
  job.Pass(absl::Seconds(1));
  EXPECT_EQ(job.AnswerTo(2), "DEADLINE_EXCEEDED: no rank has put 'other'");
}

TEST(JobState, ValuesLiveForOneGeneration) {
  TestJob job(2);
  ASSERT_TRUE(job.JoinAll().ok());
  EXPECT_TRUE(job.Put(0, "k", "v").ok());
  job.Get(1, 0, "never", 100);
  EXPECT_TRUE(job.Report(1, "killed").ok());
  EXPECT_THAT(job.AnswerTo(1), HasSubstr("ABORTED: rank 1 on node-1"));
  EXPECT_TRUE(absl::IsAborted(job.Put(0, "k", "v")));
  ASSERT_TRUE(job.JoinAll().ok());
  job.Get(2, 0, "k", 0);
  job.Do(0, "a");
  job.Do(1, "a");
  job.Pass(absl::Milliseconds(100));
  EXPECT_THAT(job.AnswerTo(2), HasSubstr("DEADLINE_EXCEEDED"));
}

TEST(JobState, NumbersThatAreNoneDoNoHarm) {
  TestJob job(1, WithDeadlines({}, absl::Seconds(5)));
  ASSERT_TRUE(job.JoinAll().ok());
  uint64_t call = 0;
  for (double seconds : {std::nan(""), -1.0, -HUGE_VAL, 1e300}) {
    EXPECT_TRUE(job.Beat(0, "a", "", -7, false, seconds).ok());
    job.Get(++call, 0, "k", seconds);
  }
  job.Pass(absl::Milliseconds(100));
  EXPECT_EQ(job.EndOf(0), "");
  for (uint64_t none : {1, 2, 3}) {
    EXPECT_THAT(job.AnswerTo(none), HasSubstr("DEADLINE_EXCEEDED"));
  }
  EXPECT_EQ(job.AnswerTo(4), "");  // 1e300 s are a long time.
}

TEST(JobState, StopTellsEveryone) {
  TestJob job(2);
  ASSERT_TRUE(job.JoinAll().ok());
  job.state().Stop("the coordinator was stopped", job.now());
  job.Pass(absl::Milliseconds(100));
  EXPECT_EQ(job.EndOf(0), "ABORTED: the coordinator was stopped");
  ASSERT_TRUE(job.Join(0).ok());
  job.state().Stop("again", job.now());
  job.Pass(absl::Milliseconds(100));
  EXPECT_EQ(job.EndOf(0), "ABORTED: again");
}

}  // namespace
}  // namespace nextword::rendezvous

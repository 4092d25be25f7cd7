// Whom a job's end is blamed on, and in which words.
#include "distributed/rendezvous/abort_sentence.h"

#include <map>
#include <string>

#include "absl/time/time.h"
#include "distributed/rendezvous/job_state.h"
#include "distributed/rendezvous/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_job.h"

namespace nextword::rendezvous {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

JobState::Options WithDeadlines(
    const std::map<std::string, absl::Duration>& by_phase,
    absl::Duration others = absl::ZeroDuration()) {
  JobState::Options options;
  options.phase_deadlines = {by_phase, others};
  return options;
}

TEST(AbortSentence, NamesWhoEndedWithoutAWord) {
  TestJob job(4);
  ASSERT_TRUE(job.JoinAll().ok());
  job.Do(1, "backward", "", 12);
  for (int rank : {0, 2, 3}) job.Do(rank, "all-reduce", "bucket 2", 12, true);
  job.Close(1);
  EXPECT_EQ(job.EndOf(0), "");  // A better reason may come.
  job.Pass(absl::Milliseconds(500));
  const std::string sentence =
      "rank 1 on node-1 (pid 101) ended without a word in backward of step "
      "12; the other 3 ranks wait in all-reduce of bucket 2";
  for (int rank : {0, 2, 3}) EXPECT_EQ(job.EndOf(rank), "ABORTED: " + sentence);
  EXPECT_EQ(job.LastNews(), "1 aborted: " + sentence);
  EXPECT_EQ(job.EndOf(1), "");  // Nobody to tell.
}

TEST(AbortSentence, ALaunchersReportIsABetterReason) {
  const std::string sentence =
      "1 aborted: rank 1 on node-1 (pid 101) ended in backward of step 12: "
      "killed by signal 9; rank 0 is in data read (x)";
  for (bool closed_first : {true, false}) {
    TestJob job(2);
    ASSERT_TRUE(job.JoinAll().ok());
    job.Do(0, "data read", "x", 12);
    job.Do(1, "backward", "", 12);
    if (closed_first) job.Close(1);
    EXPECT_TRUE(job.Report(1, "killed by signal 9", 101).ok());
    EXPECT_EQ(job.LastNews(), sentence);  // At once.
    if (!closed_first) job.Close(1);
    EXPECT_EQ(job.news().size(), 2u);
  }
}

TEST(AbortSentence, AReportOfAnotherProcessWaitsForTheDeath) {
  TestJob job(1);
  ASSERT_TRUE(job.JoinAll().ok());
  EXPECT_TRUE(job.Report(0, "exit code 3", 55).ok());
  job.Do(0, "a");
  job.Pass(absl::Seconds(5));
  EXPECT_EQ(job.EndOf(0), "");
  job.Close(0);
  EXPECT_EQ(job.LastNews(),
            "1 aborted: rank 0 on node-0 (pid 100) ended in a: exit code 3");
}

TEST(AbortSentence, ARankCanSayWhatIsWrong) {
  TestJob job(3);
  ASSERT_TRUE(job.JoinAll().ok());
  EXPECT_TRUE(job.Fail(1, "the loss\n is not finite").ok());
  job.Close(1);
  EXPECT_TRUE(job.Report(1, "exit code 1").ok());
  job.Pass(absl::Milliseconds(500));
  EXPECT_EQ(job.EndOf(0), "ABORTED: rank 1 on node-1: the loss  is not finite");
  // Alone, there is nobody else to wait for.
  TestJob alone(1);
  ASSERT_TRUE(alone.JoinAll().ok());
  EXPECT_TRUE(alone.Fail(0, "no").ok());
  EXPECT_EQ(alone.EndOf(0), "ABORTED: rank 0 on node-0: no");
}

TEST(AbortSentence, DoesNotBlameWhoOnlySuffered) {
  // The survivors notice first that a connection broke, and say so.
  TestJob job(3);
  ASSERT_TRUE(job.JoinAll().ok());
  job.Do(0, "all-reduce", "bucket 1", 5, true);
  job.Do(2, "all-reduce", "bucket 1", 5, true);
  job.Do(1, "forward", "", 5);
  EXPECT_TRUE(job.Fail(0, "connection reset by peer").ok());
  job.Pass(absl::Milliseconds(100));
  EXPECT_TRUE(job.Fail(2, "connection reset by peer").ok());
  job.Close(0);
  job.Close(2);
  EXPECT_TRUE(job.Report(0, "exit code 1").ok());
  job.Close(1);
  job.Pass(absl::Milliseconds(100));
  EXPECT_THAT(job.news(), ElementsAre("1 started"));
  EXPECT_TRUE(job.Report(1, "killed by signal 11").ok());
  EXPECT_THAT(job.LastNews(),
              HasSubstr("rank 1 on node-1 (pid 101) ended in forward of step "
                        "5: killed by signal 11"));
  // Without a death, it is who was at work that fails, not who waited.
  TestJob other(2);
  ASSERT_TRUE(other.JoinAll().ok());
  other.Do(0, "all-reduce", "bucket 1", 5, true);
  other.Do(1, "data read", "x", 5);
  EXPECT_TRUE(other.Fail(0, "connection reset by peer").ok());
  other.Pass(absl::Milliseconds(100));
  EXPECT_TRUE(other.Fail(1, "x: cannot read").ok());
  EXPECT_EQ(other.LastNews(), "1 aborted: rank 1 on node-1: x: cannot read");
}

TEST(AbortSentence, NamesWhoIsSilent) {
  TestJob job(3);
  ASSERT_TRUE(job.JoinAll().ok());
  job.Do(0, "forward", "", 3);
  job.Do(1, "checkpoint", "/runs/a", 3);
  job.Do(2, "forward", "", 3);
  job.Pass(absl::Seconds(9.5), {1});
  EXPECT_EQ(job.EndOf(0), "");
  job.Pass(absl::Seconds(1), {1});
  const std::string sentence =
      "ABORTED: rank 1 on node-1 has sent no sign of life for 10 s, last in "
      "checkpoint (/runs/a) of step 3; the other 2 ranks are in forward";
  EXPECT_EQ(job.EndOf(0), sentence);
  EXPECT_EQ(job.EndOf(1), sentence);  // It may wake up.
  EXPECT_EQ(job.Beat(1).status().ToString(), sentence);
}

TEST(AbortSentence, ASilentNodeIsTold) {
  TestJob job(4);
  ASSERT_TRUE(job.JoinAll().ok());
  for (int rank : {0, 1, 2, 3}) job.Do(rank, "forward", "", 3);
  job.Pass(absl::Milliseconds(300), {2});
  job.Pass(absl::Seconds(10), {2, 3});
  EXPECT_THAT(job.LastNews(), HasSubstr("rank 2 on node-2 has sent no sign"));
  EXPECT_THAT(job.LastNews(),
              HasSubstr("; 2 ranks are in forward, rank 3 is silent, too"));
}

TEST(AbortSentence, SurvivesAStall) {
  TestJob job(2);
  ASSERT_TRUE(job.JoinAll().ok());
  job.Do(0, "a");
  job.Do(1, "a");
  job.Pass(absl::Seconds(5), {0, 1});
  job.Pass(absl::Seconds(30));
  EXPECT_THAT(job.news(), ElementsAre("1 started"));
}

TEST(AbortSentence, NamesWhoOutlastsADeadline) {
  TestJob job(8, WithDeadlines({{"data read", absl::Seconds(90)}}));
  ASSERT_TRUE(job.JoinAll().ok());
  for (int rank = 0; rank < 8; ++rank) {
    job.Do(rank, "all-reduce", "bucket 2", 7, true);
  }
  job.Do(3, "data read", "train.tokens", 7);
  job.Pass(absl::Seconds(89));
  EXPECT_EQ(job.EndOf(0), "");
  job.Pass(absl::Seconds(2));
  EXPECT_EQ(job.EndOf(0),
            "ABORTED: rank 3 on node-3 has been in data read (train.tokens) of "
            "step 7 for 90 s; the other 7 ranks wait in all-reduce of bucket "
            "2");
}

TEST(AbortSentence, WhoWaitsIsNotToBlame) {
  TestJob job(4, WithDeadlines({{"all-reduce", absl::Seconds(30)}}));
  ASSERT_TRUE(job.JoinAll().ok());
  for (int rank : {0, 1, 2}) job.Do(rank, "all-reduce", "bucket 2", 7, true);
  job.Do(3, "forward", "", 7);
  job.Pass(absl::Seconds(10));
  job.Do(3, "backward", "", 7);
  job.Pass(absl::Seconds(25));
  EXPECT_EQ(job.LastNews(),
            "1 aborted: rank 3 on node-3 has been in backward of step 7 for "
            "20 s; the other 3 ranks wait in all-reduce of bucket 2");
  // When all wait, it is one that waits for something else.
  TestJob other(4, WithDeadlines({{"all-reduce", absl::Seconds(30)}}));
  ASSERT_TRUE(other.JoinAll().ok());
  for (int rank : {0, 1, 3}) other.Do(rank, "all-reduce", "bucket 3", 7, true);
  other.Do(2, "all-reduce", "bucket 2", 7, true);
  other.Pass(absl::Seconds(31));
  EXPECT_EQ(other.LastNews(),
            "1 aborted: rank 2 on node-2 has been in all-reduce of bucket 2, "
            "step 7 for 30 s; the other 3 ranks wait in all-reduce of bucket "
            "3");
}

TEST(AbortSentence, OthersWaitForWhatMayTakeAnyTime) {
  TestJob job(2, WithDeadlines({{"data open", absl::ZeroDuration()}},
                               absl::Seconds(30)));
  ASSERT_TRUE(job.JoinAll().ok());
  job.Do(0, "comparison", "corpus", -1, true);
  job.Do(1, "data open");
  job.Pass(absl::Hours(2));
  EXPECT_EQ(job.LastNews(), "1 started");
  job.Do(1, "forward");
  job.Pass(absl::Seconds(31));
  EXPECT_EQ(job.LastNews(),
            "1 aborted: rank 1 on node-1 has been in forward for 10 s; rank 0 "
            "waits in comparison of corpus");
}

TEST(AbortSentence, DeadlinesCountFromTheBeginning) {
  TestJob job(2, WithDeadlines({}, absl::Seconds(5)));
  ASSERT_TRUE(job.Join(0).ok());
  job.Do(0, "start");
  job.Pass(absl::Seconds(60));
  ASSERT_TRUE(job.Join(1).ok());
  job.Pass(absl::Seconds(4));
  EXPECT_TRUE(job.Beat(0, "start", "", -1, false, 64).ok());
  EXPECT_EQ(job.LastNews(), "1 started");
}

TEST(AbortSentence, TellsOfThreeGroupsAtMost) {
  TestJob job(12);
  ASSERT_TRUE(job.JoinAll().ok());
  for (int rank = 0; rank < 6; ++rank) {
    job.Do(rank, "all-reduce", "bucket 2", 7, true);
  }
  for (int rank : {6, 7, 8}) job.Do(rank, "backward", "", 7);
  job.Do(9, "data read", "x", 8);
  job.Do(10, "evaluate", "", 6);
  job.Do(11, "forward", "", 7);
  job.Close(11);
  job.Pass(absl::Seconds(1));
  EXPECT_EQ(job.LastNews(),
            "1 aborted: rank 11 on node-11 (pid 111) ended without a word in "
            "forward of step 7; 6 ranks wait in all-reduce of bucket 2, 3 "
            "ranks are in backward, rank 9 is in data read (x) of step 8, 1 "
            "rank does something else");
}

TEST(AbortSentence, AReportOfARankThatLeftIsNoNews) {
  TestJob job(2);
  ASSERT_TRUE(job.JoinAll().ok());
  EXPECT_TRUE(job.Leave(0).ok());
  EXPECT_TRUE(job.Report(0, "killed by signal 9", 100).ok());
  job.Do(1, "a");
  job.Pass(absl::Seconds(5));
  EXPECT_THAT(job.news(), ElementsAre("1 started"));
}

TEST(AbortSentence, WhatAPeerSaysIsCleaned) {
  TestJob job(1);
  JoinRequest request = job.Request(0);
  request.set_host("no\x1b[31mde\xff");
  ASSERT_TRUE(job.Join(request).ok());
  EXPECT_TRUE(job.Fail(0, std::string(100'000, 'x') + "\xc2").ok());
  EXPECT_THAT(job.EndOf(0), HasSubstr("rank 0 on no?[31mde?: xxx"));
  EXPECT_LT(job.EndOf(0).size(), kMaxSentenceBytes);
  EXPECT_TRUE(job.EndOf(0).ends_with("xxx..."));
}

}  // namespace
}  // namespace nextword::rendezvous

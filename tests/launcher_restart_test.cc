// What the launcher does when a rank, another node or the coordinator fails.
// Small shell scripts stand for ranks.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "distributed/launcher/child_process.h"
#include "distributed/launcher/monotonic_clock.h"
#include "distributed/launcher/signals.h"
#include "distributed/launcher/supervisor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_launcher.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

using LauncherRestartTest = LauncherTest;

TEST_F(LauncherRestartTest, FailureOfOneRankEndsTheOthersAndIsTheExitCode) {
  Options options = Scripts({"exec sleep 100", "exit 3", "exec sleep 100"});
  options.restarts.max_restarts = 5;
  Start(options, [this](Options* o) {
    o->on_failure = [this](int rank, pid_t, const std::string& how) {
      WriteTestFile(Path("failure"), absl::StrCat(rank, " ", how));
    };
  });
  EXPECT_EQ(Wait(), 3);
  EXPECT_EQ(Contents("failure"), "1 exit code 3, which no restart mends");
  EXPECT_THAT(Contents("errors"),
              AllOf(HasSubstr("[launcher] rank 1 (pid "),
                    HasSubstr(") ended: exit code 3; stopping the other ranks "
                              "of this node (2)"),
                    Not(HasSubstr("starting again"))));
}

TEST_F(LauncherRestartTest, WhatARankSaidLastComesBeforeTheNewsOfItsEnd) {
  EXPECT_EQ(Run(Scripts({"echo cannot read x >&2; exit 1", "true"})), 1);
  const std::string errors = Contents("errors");
  EXPECT_LT(errors.find("[rank 0] cannot read x\n"),
            errors.find("[launcher] rank 0"));
}

TEST_F(LauncherRestartTest,
       AKilledRankIsReportedAndTheJobRestartedABoundedTimes) {
  Options options = Scripts({"echo start $RESTARTED; kill -9 $$",
                             "trap 'exit 0' TERM; sleep 100 & wait"});
  options.restarts.max_restarts = 3;
  options.restarts.first_pause = absl::Milliseconds(30);
  const absl::Time start = MonotonicNow();
  Start(options, [this](Options* o) {
    o->on_failure = [this](int rank, pid_t, const std::string& how) {
      WriteTestFile(Path("failure"), absl::StrCat(rank, " ", how));
    };
  });
  EXPECT_EQ(Wait(), 128 + SIGKILL);
  EXPECT_EQ(Contents("failure"), "0 killed by signal 9 (Killed)");
  EXPECT_THAT(Lines("output"),
              ElementsAre("[rank 0] start no", "[rank 0] start yes",
                          "[rank 0] start yes", "[rank 0] start yes"));
  EXPECT_THAT(Contents("errors"),
              AllOf(HasSubstr("starting again in 30ms: restart 1 of 3"),
                    HasSubstr("starting again in 60ms: restart 2 of 3"),
                    HasSubstr("starting again in 120ms: restart 3 of 3"),
                    HasSubstr("giving up after 3 restarts in a row")));
  EXPECT_GE(MonotonicNow() - start, absl::Milliseconds(210));
}

TEST_F(LauncherRestartTest, ARestartThatSucceedsEndsWell) {
  Options options = Same(2, R"(
    if [ $RESTARTED = no ] && [ $N = 1 ]; then kill -SEGV $$; fi
    [ $RESTARTED = yes ] || exec sleep 100
    echo finished)");
  options.restarts.max_restarts = 1;
  EXPECT_EQ(Run(options), 0);
  EXPECT_THAT(Contents("errors"), HasSubstr("killed by signal 11"));
  EXPECT_THAT(Lines("output"),
              UnorderedElementsAre("[rank 0] finished", "[rank 1] finished"));
}

TEST_F(LauncherRestartTest,
       ExitCode75AsksForARestartAndAnErrorAfterItIsNoObstacle) {
  Options options = Scripts({"[ $RESTARTED = yes ] || exit 75",
                             "trap 'exit 1' TERM; [ $RESTARTED = yes ] || "
                             "{ sleep 100 & wait; }"});
  options.restarts.max_restarts = 1;
  EXPECT_EQ(Run(options), 0);
}

TEST_F(LauncherRestartTest, AnErrorIsNotRetriedThoughOthersAskForIt) {
  Options options =
      Scripts({"exit 1", "trap 'exit 75' TERM; sleep 100 & wait"});
  options.restarts.max_restarts = 5;
  EXPECT_EQ(Run(options), 1);
  EXPECT_THAT(Contents("errors"), Not(HasSubstr("starting again")));
}

TEST_F(LauncherRestartTest, AStoppedRankIsKilledToo) {
  // Rank 0 fails once rank 1 does not run any more.
  const Options options = Scripts(
      {"until [ -e pid ]; do sleep 0.01; done; read p < pid; "
       "until grep -q '^State:.T' /proc/$p/status; do sleep 0.01; done; exit 4",
       "echo $$ > pid.new; mv pid.new pid; kill -STOP $$; echo woken"});
  EXPECT_EQ(Run(options), 4);
  EXPECT_THAT(Contents("output"), IsEmpty());
}

TEST_F(LauncherRestartTest, WhatRanksLeaveBehindDiesWithThem) {
  // One rank is killed, one succeeds, one fails.
  const Options options = Scripts(
      {"trap '' TERM; sleep 100 & echo $! > child0; touch up0; wait; sleep 99",
       "sleep 100 & echo $! > child1; touch up1",
       "sleep 100 & echo $! > child2; "
       "until [ -e up0 ] && [ -e up1 ]; do sleep 0.01; done; exit 6"});
  EXPECT_EQ(Run(options), 6);
  for (const char* file : {"child0", "child1", "child2"}) {
    pid_t child;
    ASSERT_TRUE(absl::SimpleAtoi(Contents(file), &child));
    // Orphans come here.
    int status;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(ExitCodeOf(status), 128 + SIGKILL);
  }
}

TEST_F(LauncherRestartTest,
       RanksThatHangAfterAnAbortAreKilledAndTheJobRestarted) {
  Options options = Same(2, R"(
    trap 'echo never' TERM
    [ $RESTARTED = yes ] && exit 0
    touch up$N
    while [ $N = 0 ]; do sleep 0.02; done
    until [ -e aborted ]; do sleep 0.01; done; exit 75)");
  options.restarts.max_restarts = 1;
  Start(options, nullptr, [this](Supervisor* supervisor) {
    AbortOnceUp(supervisor, 2, "rank 9 on node-b ended without a word");
  });
  EXPECT_EQ(Wait(), 0);
  EXPECT_THAT(Contents("errors"),
              AllOf(HasSubstr("[launcher] the job was aborted: rank 9 on "
                              "node-b ended without a word\n"),
                    HasSubstr("restart 1 of 1")));
  // They hear it from the coordinator, not by a signal.
  EXPECT_THAT(Contents("output"), IsEmpty());
}

TEST_F(LauncherRestartTest, AnAbortThatNoRestartMendsIsNotRetried) {
  Options options =
      Same(1, "touch up0; until [ -e aborted ]; do sleep 0.01; done; exit 75");
  options.restarts.max_restarts = 3;
  Start(options, nullptr, [this](Supervisor* supervisor) {
    AbortOnceUp(supervisor, 1,
                absl::StrCat("rank 1 ended: exit code 1",
                             Supervisor::kNoRestart, "; rank 0 waits"));
  });
  EXPECT_EQ(Wait(), 1);
  EXPECT_THAT(Contents("errors"), Not(HasSubstr("starting again")));
}

TEST_F(LauncherRestartTest, OldNewsOfAnAbortDoesNotEndTheNextStart) {
  Start(Same(1, "echo done"), nullptr, [](Supervisor* supervisor) {
    supervisor->Abort("of the start before");
  });
  EXPECT_EQ(Wait(), 0);
  EXPECT_EQ(Contents("output"), "done\n");
}

TEST_F(LauncherRestartTest, WhatNoRestartMendsStopsTheRanks) {
  Options options = Same(2, "touch up$N; exec sleep 100");
  options.restarts.max_restarts = 3;
  Start(options, nullptr, [this](Supervisor* supervisor) {
    OnceUp(2, [supervisor] { supervisor->Fail("the token is another one"); });
  });
  EXPECT_EQ(Wait(), 1);
  EXPECT_EQ(Contents("errors"), "[launcher] the token is another one\n");
}

// Tells where it listens, then waits for its launcher to close the socket.
constexpr char kCoordinator[] = R"(
  echo "127.0.0.1:1234" >&3
  while read word <&3; do echo "$word" >> said; done)";

TEST_F(LauncherRestartTest,
       RanksHearWhereTheCoordinatorListensAndItHearsTheEnd) {
  Options options = Same(2, R"(
    echo at $COORDINATOR; touch up$N
    until [ -e up0 ] && [ -e up1 ]; do sleep 0.01; done
    exit $(cat code))");
  options.world_size = 4;  // The others it has to wait for.
  options.listen = "127.0.0.1:0";
  options.coordinator_command =
      Coordinator(absl::StrCat("trap '' TERM; echo listens; ", kCoordinator));
  for (const char* code : {"0", "5"}) {
    WriteTestFile(Path("code"), code);
    EXPECT_EQ(absl::StrCat(Run(options)), code);
    EXPECT_THAT(Lines("output"),
                UnorderedElementsAre("[coordinator] listens",
                                     "[rank 0] at 127.0.0.1:1234",
                                     "[rank 1] at 127.0.0.1:1234"));
    EXPECT_EQ(Contents("said"), *code == '0' ? "done\n" : "");
    unlink(Path("output").c_str());
    for (const char* file : {"said", "up0", "up1"}) {
      unlink(Path(file).c_str());
    }
  }
}

TEST_F(LauncherRestartTest,
       ACoordinatorThatDiesComesBackAtItsAddressWithTheJob) {
  // The first one dies once the rank is up; a job without it cannot go on.
  Options options = Same(1, "touch up; [ $RESTARTED = yes ] || exec sleep 99");
  options.listen = "127.0.0.1:0";
  options.restarts.max_restarts = 1;
  options.coordinator_command = Coordinator(absl::StrCat(
      "echo listen $LISTEN; if [ ! -e up ]; then echo 127.0.0.1:1234 >&3; "
      "until [ -e up ]; do sleep 0.01; done; kill -9 $$; fi; ",
      kCoordinator));
  EXPECT_EQ(Run(options), 0);
  EXPECT_THAT(Lines("output"),
              ElementsAre("[coordinator] listen 127.0.0.1:0",
                          "[coordinator] listen 127.0.0.1:1234"));
  EXPECT_THAT(Contents("errors"),
              HasSubstr("[launcher] the job was aborted: the coordinator "
                        "ended: killed by signal 9 (Killed)"));
}

TEST_F(LauncherRestartTest, ACoordinatorThatHangsIsReplacedUnderRanksThatWait) {
  // The rank's first lines tell the test that it is up, its last that it has
  // seen the second coordinator, which alone leaves a file.
  Options options = Same(1, R"(
    touch up0; until [ -e second ]; do sleep 0.01; done; echo $RESTARTED)");
  options.listen = "127.0.0.1:0";
  options.coordinator_start = absl::ZeroDuration();
  options.coordinator_command = Coordinator(absl::StrCat(
      "[ ! -e up0 ] || touch second; trap '' TERM; ", kCoordinator));
  Start(options, nullptr, [this](Supervisor* supervisor) {
    OnceUp(1, [supervisor] { supervisor->CoordinatorIsUnreachable(); });
  });
  EXPECT_EQ(Wait(), 0);
  EXPECT_THAT(Lines("output"), ElementsAre("no"));
  EXPECT_THAT(Contents("errors"),
              AllOf(HasSubstr("[launcher] the coordinator of this node does "
                              "not answer; killing it\n"),
                    HasSubstr("[launcher] the coordinator ended: killed by "
                              "signal 9 (Killed); it will be started again\n"),
                    Not(HasSubstr("aborted"))));
}

TEST_F(LauncherRestartTest,
       ACoordinatorThatHasJustBeenStartedIsNotTakenToHang) {
  Options options = Same(1, R"(
    touch up0; until [ -e told ]; do sleep 0.01; done)");
  options.listen = "127.0.0.1:0";
  options.coordinator_start = absl::Hours(1);
  options.coordinator_command = Coordinator(kCoordinator);
  Start(options, nullptr, [this](Supervisor* supervisor) {
    OnceUp(1, [this, supervisor] {
      supervisor->CoordinatorIsUnreachable();
      WriteTestFile(Path("told"), "");
    });
  });
  EXPECT_EQ(Wait(), 0);
  EXPECT_THAT(Contents("errors"), IsEmpty());
}

TEST_F(LauncherRestartTest, ACoordinatorThatCannotListenIsGivenUp) {
  Options options = Same(1, "echo never");
  options.listen = "10.0.0.1:1";
  options.restarts.first_pause = absl::Milliseconds(2);
  options.coordinator_command =
      Coordinator("echo cannot listen at $LISTEN >&2; exit 1");
  EXPECT_EQ(Run(options), 1);
  EXPECT_THAT(
      Contents("errors"),
      AllOf(HasSubstr("[coordinator] cannot listen at 10.0.0.1:1\n"),
            HasSubstr("[launcher] the coordinator ended too often, last with "
                      "exit code 1; giving up\n")));
  EXPECT_THAT(Contents("output"), IsEmpty());
}

TEST_F(LauncherRestartTest, AProgramThatCannotBeStartedIsNamed) {
  Options options = Same(2, "true");
  options.command = [](int, bool, const std::string&) {
    return ChildCommand{"/nowhere/nextword", {"nextword"}, {}};
  };
  options.restarts.max_restarts = 5;
  EXPECT_EQ(Run(options), 1);
  EXPECT_THAT(Contents("errors"),
              HasSubstr("[launcher] rank 0: /nowhere/nextword: cannot start: "
                        "No such file or directory"));
}

}  // namespace
}  // namespace nextword

// The launcher's watch over processes: their output, signals, and what they
// inherit. Small shell scripts stand for ranks.
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "distributed/launcher/signals.h"
#include "distributed/launcher/supervisor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_launcher.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST_F(LauncherTest, LinesStayWholeAndSayWhoseTheyAre) {
  // Lines of all ranks are begun before any is ended.
  const Options options = Same(3, R"(
    printf "out $N "; printf "err $N " >&2; touch begun$N
    until [ -e begun0 ] && [ -e begun1 ] && [ -e begun2 ]; do sleep 0.01; done
    echo more; echo last; echo more >&2; printf 'no newline' >&2)");
  EXPECT_EQ(Run(options), 0);
  EXPECT_THAT(Lines("output"),
              UnorderedElementsAre("[rank 0] out 0 more", "[rank 0] last",
                                   "[rank 1] out 1 more", "[rank 1] last",
                                   "[rank 2] out 2 more", "[rank 2] last"));
  EXPECT_THAT(
      Lines("errors"),
      UnorderedElementsAre("[rank 0] err 0 more", "[rank 0] no newline",
                           "[rank 1] err 1 more", "[rank 1] no newline",
                           "[rank 2] err 2 more", "[rank 2] no newline"));
}

TEST_F(LauncherTest, TheOnlyRankOfAJobHasNoPrefixAndSeesNoTerminal) {
  EXPECT_EQ(Run(Same(1, "[ -t 1 ] || echo pipe; read x || echo nothing")), 0);
  EXPECT_EQ(Contents("output"), "pipe\nnothing\n");
  EXPECT_THAT(Contents("errors"), IsEmpty());
}

TEST_F(LauncherTest, ALoneRankOfAJobOfMoreNodesHasAPrefix) {
  Options options = Same(1, "echo here");
  options.first_rank = 5;
  options.world_size = 6;
  EXPECT_EQ(Run(options), 0);
  EXPECT_EQ(Contents("output"), "[rank 5] here\n");
}

TEST_F(LauncherTest, LogFilesHoldBothStreamsOfARankAndGrow) {
  Options options = Same(2, "echo out $N; echo err $N >&2");
  options.log_dir = Path("logs/here");
  EXPECT_EQ(Run(options), 0);
  EXPECT_EQ(Run(options), 0);
  EXPECT_THAT(Lines("logs/here/1.log"),
              UnorderedElementsAre("out 1", "err 1", "out 1", "err 1"));
  EXPECT_THAT(Contents("logs/here/0.log"), HasSubstr("err 0\n"));
}

TEST_F(LauncherTest, AFloodFromOneRankDelaysNobody) {
  // Rank 0 writes for as long as rank 1's last line has not come through.
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  Options options =
      Scripts({"while [ ! -e stop ]; do echo "
               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
               "for i in 1 2 3 4 5; do echo line $i; done"});
  options.output = ends[1];
  Start(options);
  close(ends[1]);
  std::string all;
  char block[4096];
  ssize_t n;
  while ((n = read(ends[0], block, sizeof(block))) > 0) {
    all.append(block, n);
    if (absl::StrContains(all, "[rank 1] line 5\n")) {
      WriteTestFile(Path("stop"), "");
    }
  }
  EXPECT_EQ(Wait(), 0);
  for (const absl::string_view line : absl::StrSplit(all, '\n')) {
    if (line.empty()) continue;
    EXPECT_TRUE(absl::StartsWith(line, "[rank 0] xxxx") ||
                absl::StartsWith(line, "[rank 1] line "))
        << line;
  }
  close(ends[0]);
}

// Resident memory of a process, in KiB.
int64_t ResidentKib(pid_t pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  int64_t kib = 0;
  for (std::string word; status >> word;) {
    if (word == "VmRSS:") status >> kib;
  }
  EXPECT_GT(kib, 0);
  return kib;
}

TEST_F(LauncherTest, OutputThatNobodyTakesNeitherFillsMemoryNorStopsTheWatch) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  // Short lines, which the prefix makes longer. The other stream is taken.
  Options options =
      Scripts({"trap 'echo told >&2; exit 9' USR1; echo ready >&2; yes & wait",
               "until [ -e go ]; do sleep 0.02; done; echo going >&2"});
  options.output = ends[1];
  Start(options);
  close(ends[1]);
  WaitFor("errors", {"[rank 0] ready"});
  // The pipe is full, and then some.
  pollfd readable = {ends[0], POLLIN, 0};
  ASSERT_EQ(poll(&readable, 1, 9000), 1);
  WriteTestFile(Path("go"), "");
  WaitFor("errors", {"[rank 1] going"});
  EXPECT_LT(ResidentKib(launcher_), 64 << 10);
  kill(launcher_, SIGUSR1);
  WaitFor("errors", {"[rank 0] told"});
  // What it still has to say, nobody hears: who does not want to wait, says so.
  kill(launcher_, SIGTERM);
  EXPECT_EQ(Wait(), 9);
  close(ends[0]);
}

TEST_F(LauncherTest, AReaderThatLeavesDoesNotEndTheJob) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  Options options = Same(2, "echo one; echo two; echo three; echo done >&2");
  options.output = ends[1];
  close(ends[0]);
  Start(options);
  close(ends[1]);
  EXPECT_EQ(Wait(), 0);
  EXPECT_THAT(Contents("errors"),
              AllOf(HasSubstr("[rank 0] done"), HasSubstr("Broken pipe"),
                    HasSubstr("standard output")));
}

TEST_F(LauncherTest, SignalsArePassedOnOnceAndEndTheJobWithoutRestart) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    Options options = Same(2, R"(
      trap 'echo signal; told=1' TERM INT HUP
      told=0; echo ready
      while [ $told = 0 ]; do sleep 0.02; done
      exit $((N * 7)))");
    options.restarts.max_restarts = 5;
    Start(options);
    WaitFor("output", {"[rank 0] ready", "[rank 1] ready"});
    kill(launcher_, signal);
    EXPECT_EQ(Wait(), 7);
    EXPECT_THAT(Lines("output"),
                UnorderedElementsAre("[rank 0] ready", "[rank 1] ready",
                                     "[rank 0] signal", "[rank 1] signal"));
    unlink(Path("output").c_str());
  }
}

TEST_F(LauncherTest, ASignalThatRanksDieOfIsNoReasonToRestart) {
  Options options = Same(2, "echo ready; exec sleep 100");
  options.restarts.max_restarts = 5;
  Start(options);
  WaitFor("output", {"[rank 0] ready", "[rank 1] ready"});
  kill(launcher_, SIGTERM);
  EXPECT_EQ(Wait(), 128 + SIGTERM);
  EXPECT_THAT(Contents("errors"), IsEmpty());
}

TEST_F(LauncherTest, AJobThatWasToldToEndDoesNotPassForDone) {
  const std::string script =
      "trap 'exit 0' TERM USR1; echo ready; while :; do sleep 0.02; done";
  Start(Same(1, script));
  WaitFor("output", {"ready"});
  kill(launcher_, SIGTERM);
  EXPECT_EQ(Wait(), 128 + SIGTERM);
  // SIGUSR1 announces something; whether the job ends is up to the ranks.
  unlink(Path("output").c_str());
  Start(Same(1, script));
  WaitFor("output", {"ready"});
  kill(launcher_, SIGUSR1);
  EXPECT_EQ(Wait(), 0);
}

TEST_F(LauncherTest, ASecondSignalKillsAtOnce) {
  Options options =
      Same(2,
           "trap 'echo no' INT TERM; echo ready; while :; do sleep 0.02; "
           "done");
  options.grace = absl::Seconds(1000);
  Start(options);
  WaitFor("output", {"[rank 0] ready", "[rank 1] ready"});
  kill(launcher_, SIGINT);
  WaitFor("output", {"[rank 0] no", "[rank 1] no"});
  kill(launcher_, SIGTERM);
  EXPECT_EQ(Wait(), 128 + SIGKILL);
}

TEST_F(LauncherTest, ASignalEndsThePauseBeforeARestart) {
  Options options = Same(1, "exit 75");
  options.restarts.max_restarts = 1;
  options.restarts.first_pause = absl::Seconds(50);
  Start(options);
  WaitFor("errors", {"[launcher] starting again in 50s: restart 1 of 1"});
  kill(launcher_, SIGTERM);
  EXPECT_EQ(Wait(), 75);
}

TEST_F(LauncherTest, AnIgnoredSignalStaysIgnored) {
  Start(Same(1, "echo ready; until [ -e go ]; do sleep 0.01; done; exit 5"),
        [](Options*) { std::signal(SIGHUP, SIG_IGN); });
  WaitFor("output", {"ready"});
  kill(launcher_, SIGHUP);
  WriteTestFile(Path("go"), "");
  EXPECT_EQ(Wait(), 5);
}

TEST_F(LauncherTest, RanksDoNotOutliveAKilledLauncher) {
  Start(Same(3,
             "trap '' TERM HUP; echo $$ > pid$N.new; mv pid$N.new pid$N; "
             "echo ready; while :; do sleep 1; done"));
  WaitFor("output", {"[rank 0] ready", "[rank 1] ready", "[rank 2] ready"});
  kill(launcher_, SIGKILL);
  EXPECT_EQ(Wait(), 128 + SIGKILL);
  for (const char* file : {"pid0", "pid1", "pid2"}) {
    pid_t rank;
    ASSERT_TRUE(absl::SimpleAtoi(Contents(file), &rank));
    int status;
    ASSERT_EQ(waitpid(rank, &status, 0), rank);
    EXPECT_EQ(ExitCodeOf(status), 128 + SIGKILL);
  }
}

TEST_F(LauncherTest, AConnectionThatBreaksDoesNotEndARank) {
  EXPECT_EQ(
      Run(Same(1, "{ while echo more; do :; done; echo broken >&2; } | true")),
      0);
  EXPECT_THAT(Contents("errors"), HasSubstr("broken"));
}

TEST_F(LauncherTest, RanksInheritNoFilesAndTheOldSignalMask) {
  const int fd = open("/dev/null", O_RDONLY);  // Without close-on-exec.
  std::vector<std::string> expected = {"4"};   // ls has its folder open, too.
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (absl::StrContains(line, "SigBlk")) expected.push_back(line);
  }
  EXPECT_EQ(Run(Same(1,
                     "ls /proc/self/fd | wc -l; "
                     "grep SigBlk /proc/self/status")),
            0);
  close(fd);
  EXPECT_EQ(Lines("output"), expected);
}

}  // namespace
}  // namespace nextword

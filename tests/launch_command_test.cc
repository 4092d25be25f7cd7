// `nextword launch` as its users run it, with this machine for every node.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_cli.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

// A port that is free right now.
int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(bind(fd, generic, size), 0);
  EXPECT_EQ(getsockname(fd, generic, &size), 0);
  close(fd);
  return ntohs(address.sin_port);
}

class LaunchCommandTest : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    WriteTestFile(Path("token"), "0123456789abcdef\n");
  }

  // `nextword launch OPTIONS -- train ...`.
  Arguments Launch(Arguments options, const Arguments& overrides,
                   const Arguments& more = {}) const {
    options.insert(options.begin(), "launch");
    options.push_back("--");
    const Arguments train = Train(overrides, more);
    options.insert(options.end(), train.begin(), train.end());
    return options;
  }

  // As words of a shell's script; our paths and options need no quotes.
  static std::string Words(const Arguments& arguments) {
    return absl::StrCat("tools/nextword ", absl::StrJoin(arguments, " "));
  }
  static Outcome Script(const std::string& script) {
    return RunProcess({"/bin/bash", "-c", script});
  }

  // Overrides for a run in a folder of this name.
  Arguments In(const std::string& run, int steps = 9) const {
    return {Text(), "run_dir=" + Path(run), absl::StrCat("steps=", steps)};
  }

  void ExpectSameWeights(const std::string& run, const std::string& other,
                         int step = 9) const {
    for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
      const std::string path = absl::StrCat(
          "/checkpoints/step-", absl::Dec(step, absl::kZeroPad8), "/", file);
      const auto a = ReadFile(Path(run) + path);
      const auto b = ReadFile(Path(other) + path);
      ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
      EXPECT_TRUE(*a == *b) << path;
    }
  }

  // Processes, of whatever parent, with this word on their command line.
  static std::vector<std::string> ProcessesWith(const std::string& word) {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const auto line = ReadCommandLine(entry.path().string());
      if (absl::StrContains(line, word)) found.push_back(line);
    }
    return found;
  }

 private:
  static std::string ReadCommandLine(const std::string& folder) {
    std::string line;
    if (FILE* const file = fopen((folder + "/cmdline").c_str(), "r")) {
      char block[4096];
      line.assign(block, fread(block, 1, sizeof(block), file));
      fclose(file);
    }
    return line;
  }
};

TEST_F(LaunchCommandTest, OneRankTrainsAsWithoutALauncher) {
  ASSERT_EQ(Nextword(Train(In("alone"))).exit_code, 0);
  const Outcome launched = Nextword(Launch({}, In("launched")));
  EXPECT_EQ(launched.exit_code, 0) << launched.errors;
  EXPECT_THAT(launched.output, IsEmpty());
  EXPECT_THAT(launched.errors, HasSubstr("\nstep 9/9  loss"));
  ExpectSameWeights("alone", "launched");
}

TEST_F(LaunchCommandTest, EveryRankRunsTheCommandAndSaysWhoItIs) {
  const Outcome outcome = Nextword({"launch", "--nproc", "3", "--", "version"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
  for (const char* rank : {"[rank 0] ", "[rank 1] ", "[rank 2] "}) {
    EXPECT_THAT(outcome.output, HasSubstr(absl::StrCat(rank, "protobuf")));
  }
  EXPECT_LT(outcome.seconds, 9);
}

TEST_F(LaunchCommandTest, TheCommandOfRanksIsPassedOnAsItIs) {
  for (const char* path : {"[a,b]", "--", "a b", "launch"}) {
    const Outcome outcome =
        Nextword({"launch", "--", "eval", absl::StrCat("--checkpoint=", path)});
    EXPECT_EQ(outcome.exit_code, 1) << outcome.errors;
    EXPECT_THAT(outcome.errors, HasSubstr(absl::StrCat("nextword: ", path)));
  }
}

TEST_F(LaunchCommandTest, RefusesWhatCannotBeStarted) {
  ExpectRefusal({"launch", "--nproc", "2"},
                {"no command is given", "-- train"});
  ExpectRefusal(Launch({"--nnodes", "2"}, {}),
                {"--node-rank: not given", "--coordinator: not given",
                 "--run-id: not given", "--token-file: not given"});
  ExpectRefusal(Launch({"--token-file", Path("none")}, {}),
                {"none", "No such file"});
  ExpectRefusal(Launch({"--phase-timeout", "soon"}, {}),
                {"--phase-timeout: is \"soon\""});
  ExpectRefusal(Launch({"--log-dir", Path("token/logs")}, {}), {"token/logs"});
  // Options of the command in front of it.
  EXPECT_GT(Nextword({"launch", "train", "--config", "x"}).exit_code, 1);
}

TEST_F(LaunchCommandTest, TheCoordinatorIsNobodysCommand) {
  EXPECT_THAT(Nextword({"--help"}).output,
              AllOf(HasSubstr("launch"), Not(HasSubstr("coordinator"))));
  ExpectRefusal({"coordinator", "--world-size", "1", "--run-id", "x"},
                {"NEXTWORD_TOKEN is not set"});
  ExpectRefusal({"coordinator", "--world-size", "1", "--run-id", "x",
                 "--token-file", Path("token"), "--listen", "192.0.2.1:1"},
                {"192.0.2.1:1"});
  const Outcome ended = Script(
      absl::StrCat(Words({"coordinator", "--world-size", "1", "--run-id", "x",
                          "--token-file", Path("token"), ">", Path("address")}),
                   " & until [ -s ", Path("address"),
                   " ]; do sleep 0.01; done; kill $!; wait $!"));
  EXPECT_EQ(ended.exit_code, 128 + 15) << ended.errors;
  EXPECT_THAT(*ReadFile(Path("address")), StartsWith("127.0.0.1:"));
}

TEST_F(LaunchCommandTest, AnErrorOfTheUserIsNotRetried) {
  const Outcome outcome =
      Nextword(Launch({"--nproc", "2"}, {Text(), "model.layerz=3"}));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.errors,
              AllOf(ContainsRegex("\\[rank [01]\\] .*layerz"),
                    ContainsRegex("rank [01] \\(pid [0-9]+\\) ended: exit "
                                  "code 1; stopping the other ranks"),
                    Not(HasSubstr("starting again"))));
  const Outcome option = Nextword({"launch", "--", "train", "--confix", "x"});
  EXPECT_GT(option.exit_code, 1);
  EXPECT_THAT(option.errors, Not(HasSubstr("starting again")));
}

TEST_F(LaunchCommandTest, AKilledRankIsNamedAndTheRunEndsInTheSameBits) {
  const auto in = [this](const std::string& run) {
    Arguments overrides = In(run, 150);
    overrides.push_back("checkpoint.every=10");
    return overrides;
  };
  ASSERT_EQ(Nextword(Train(in("whole"))).exit_code, 0);
  // Kills rank 1, which the file of its output tells, in the middle.
  const Outcome outcome = Script(absl::StrCat(
      Words(Launch(
          {"--nproc", "2", "--backoff", "0.1", "--log-dir", Path("logs")},
          in("killed"))),
      " & launcher=$!; until grep -q 'step-00000010' ", Path("logs/0.log"),
      "; do sleep 0.01; done; "
      "for p in $(cat /proc/$launcher/task/*/children); do "
      "grep -qz ^RANK=1 /proc/$p/environ && kill -9 $p; done; wait $launcher"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
  EXPECT_THAT(
      outcome.errors,
      AllOf(ContainsRegex("\\[launcher\\] rank 1 \\(pid [0-9]+\\) ended: "
                          "killed by signal 9 \\(Killed\\); stopping"),
            HasSubstr("restart 1 of 3"), HasSubstr("[rank 0] resumed from")));
  ExpectSameWeights("whole", "killed", 150);
}

TEST_F(LaunchCommandTest, ASignalEndsTheJobWithoutRestart) {
  const Outcome outcome = Script(absl::StrCat(
      Words(Launch({"--log-dir", Path("logs")}, In("run", 100000))),
      " & launcher=$!; until grep -q 'step 3/' ", Path("logs/0.log"),
      "; do sleep 0.01; done; kill -TERM $launcher; wait $launcher"));
  EXPECT_EQ(outcome.exit_code, 85) << outcome.errors;
  EXPECT_THAT(outcome.errors, Not(HasSubstr("starting again")));
}

TEST_F(LaunchCommandTest, NothingOutlivesAKilledLauncher) {
  const std::string run = Path("run_of_a_killed_launcher");
  const Outcome outcome =
      Nextword(Launch({}, {Text(), "run_dir=" + run, "steps=100000"}),
               {.kill_at = "step 3/100000"});
  ASSERT_EQ(outcome.exit_code, 128 + 9);
  const absl::Time until = absl::Now() + absl::Seconds(9);
  while (!ProcessesWith(run).empty() && absl::Now() < until) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_THAT(ProcessesWith(run), IsEmpty());
}

TEST_F(LaunchCommandTest, TheTokenIsOnNoCommandLineAndInNoOutput) {
  const Outcome outcome = Script(absl::StrCat(
      Words(Launch({"--token-file", Path("token"), "--log-dir", Path("logs")},
                   In("run", 100000))),
      " & launcher=$!; until grep -q 'step 3/' ", Path("logs/0.log"),
      "; do sleep 0.01; done; ranks=$(cat /proc/$launcher/task/*/children); "
      "for p in $launcher $ranks; do tr '\\0' ' ' < /proc/$p/cmdline; "
      "grep -qzf ",
      Path("token"),
      " /proc/$p/environ && echo knows; done; "
      "kill $launcher; wait $launcher"));
  // The launcher reads the file; coordinator and rank hear of it.
  EXPECT_THAT(outcome.output, AllOf(ContainsRegex("coordinator.*knows"),
                                    ContainsRegex("train.*knows"),
                                    Not(HasSubstr("0123456789abcdef"))));
  EXPECT_THAT(outcome.errors, Not(HasSubstr("0123456789abcdef")));
}

TEST_F(LaunchCommandTest, ANodeWithAnotherTokenIsTurnedAway) {
  WriteTestFile(Path("other"), "another-token\n");
  const std::string coordinator = absl::StrCat("127.0.0.1:", FreePort());
  const auto node = [&](int rank, const std::string& token) {
    return Words(Launch(
        {"--nnodes", "2", "--node-rank", absl::StrCat(rank), "--coordinator",
         coordinator, "--run-id", "job", "--token-file", Path(token)},
        In("run")));
  };
  const Outcome outcome = Script(absl::StrCat(
      node(0, "token"), " & first=$!; ", node(1, "other"), " 2>",
      Path("second"), "; code=$?; kill $first; wait $first; exit $code"));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.errors;
  EXPECT_THAT(*ReadFile(Path("second")), HasSubstr("token"));
  EXPECT_THAT(*ReadFile(Path("second")), Not(HasSubstr("another-token")));
}

// over_ssh.sh, with a shell on this machine for ssh.
class OverSshTest : public LaunchCommandTest {
 protected:
  // With a rank on each of two hosts. `meanwhile` is a script that runs beside
  // it and finds what it says in the file errors.
  Outcome OverSsh(const Arguments& command,
                  const std::string& meanwhile = "true") const {
    WriteTestFile(Path("errors"), "");
    WriteTestFile(Path("hosts"), "# two\n127.0.0.1\n\nlocalhost  # the same\n");
    // Like ssh, gives what it is told to a shell, as one text.
    WriteTestFile(Path("ssh"), absl::StrCat("echo \"$@\" >> ", Path("told"),
                                            "; shift; exec sh -c \"$*\""));
    Outcome outcome = Script(
        absl::StrCat("NEXTWORD=$PWD/tools/nextword NEXTWORD_PORT=", FreePort(),
                     " NEXTWORD_SSH='bash ", Path("ssh"), "' ",
                     "configs/cluster/over_ssh.sh ", Path("hosts"), " 1 ",
                     absl::StrJoin(command, " "), " 2>", Path("errors"),
                     " & job=$!; ", meanwhile, "; wait $job"));
    outcome.errors = *ReadFile(Path("errors"));
    return outcome;
  }
};

TEST_F(OverSshTest, TwoNodesTrainToTheSameBitsAsOneProcess) {
  ASSERT_EQ(Nextword(Train(In("alone"))).exit_code, 0);
  const Outcome outcome = OverSsh(Train(In("nodes")));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
  EXPECT_THAT(outcome.errors, HasSubstr("[rank 0] step 9/9"));
  ExpectSameWeights("alone", "nodes");
  // What ssh is told, every user of a machine can read: no token.
  EXPECT_THAT(
      *ReadFile(Path("told")),
      AllOf(HasSubstr("launch"), Not(ContainsRegex("[ '=][0-9a-f]{32}[ ']"))));
}

TEST_F(OverSshTest, ARankKilledOnOneNodeRestartsAllAndTheBitsAreTheSame) {
  Arguments whole = In("whole", 150), killed = In("killed", 150);
  for (Arguments* overrides : {&whole, &killed}) {
    overrides->push_back("checkpoint.every=10");
  }
  ASSERT_EQ(Nextword(Train(whole)).exit_code, 0);
  const Outcome outcome =
      OverSsh(Train(killed),
              absl::StrCat("until grep -q 'step 12/' ", Path("errors"),
                           "; do sleep 0.01; done; for p in /proc/[0-9]*; do "
                           "grep -qz ^RANK=1 $p/environ && grep -qz ",
                           Path("killed"),
                           " $p/cmdline && kill -9 ${p#/proc/}; done "
                           "2>/dev/null"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
  EXPECT_THAT(outcome.errors,
              AllOf(ContainsRegex("\\[launcher\\] rank 1 \\(pid [0-9]+\\) "
                                  "ended: killed by signal 9"),
                    // What the launcher of the other node hears.
                    ContainsRegex("\\[launcher\\] the job was aborted: rank 1 "
                                  "on .*killed by signal 9"),
                    HasSubstr("[rank 0] resumed from")));
  ExpectSameWeights("whole", "killed", 150);
}

TEST_F(OverSshTest, TheFailureOfOneNodeEndsTheOther) {
  const Outcome outcome = OverSsh(Train({Text(), "model.layerz=3"}));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.errors;
  EXPECT_THAT(outcome.errors,
              AllOf(HasSubstr("layerz"), HasSubstr("ending the others")));
  EXPECT_LT(outcome.seconds, 9);
}

}  // namespace
}  // namespace nextword

// A run that dies, or meets an error, at each of its calls to the system in
// turn, and is started again: it ends with the bits of a run that was left
// alone, and nothing is left over.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "autograd/base/check.h"
#include "autograd/base/directory.h"
#include "autograd/base/file.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "configs/batch_config.h"
#include "distributed/place.h"
#include "distributed/trainer.h"
#include "distributed/world.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_faults.h"
#include "tests/testing_training.h"
#include "tests/testing_world.h"

namespace nextword {
namespace {

using Kind = Fault::Kind;
using ::testing::AnyOf;

constexpr int kKilled = 128 + 9;

// Every call, or of so many one: all of them take minutes. See
// tests/faults/sweep.sh.
int Stride() {
  const char* const text = std::getenv("NEXTWORD_SWEEP_STRIDE");
  int stride;
  return text != nullptr && absl::SimpleAtoi(text, &stride) ? stride : 23;
}

// This process trains on one thread, so that it can be forked.
class FaultSweepTest : public TrainingTest {
 protected:
  void SetUp() override {
    TrainingTest::SetUp();
    SetNumThreads(1);
  }

  // That of the run `name`, which removes old checkpoints.
  TrainConfig ConfigOf(const std::string& name) const {
    std::vector<std::string> overrides = overrides_;
    overrides.push_back("checkpoint.keep=1");
    return Config(name, overrides);
  }

  // Trains with `fault`; the exit code is 1 for an error. The number of calls
  // goes into a file.
  int Train(const std::string& name, const Fault& fault) const {
    return InProcess([&] {
      SetNumThreads(1);
      Fault here = fault;
      here.path = Path(name) + "/";
      SetFault(here);
      bool fine = true;
      if (ranks_ == 1) {
        fine = Run(ConfigOf(name), "auto").ok();
      } else {
        fine = RunRanks(ConfigOf(name));
      }
      const int seen = FaultPointsSeen();
      SetFault({});
      const absl::Status written =
          WriteFileAtomically(Path(name + ".calls"), absl::StrCat(seen));
      return fine && written.ok() ? 0 : 1;
    });
  }

  // Ranks are threads: all of them die at once.
  bool RunRanks(const TrainConfig& config) const {
    std::atomic<bool> fine = true;
    InGroups(ranks_, ShardRanks(config.distributed(), ranks_),
             [&](const RankGroups& groups) {
               const auto trainer = Trainer::Create(config, "auto", groups);
               if (!trainer.ok() || !(*trainer)->Run().ok()) fine = false;
             });
    return fine;
  }

  int CallsOf(const std::string& name) const {
    int calls = 0;
    EXPECT_TRUE(absl::SimpleAtoi(*ReadFile(Path(name + ".calls")), &calls));
    return calls;
  }

  // What was not finished is not to be seen, and no checkpoint was damaged.
  void ExpectNoLeftovers(const std::string& name) const {
    for (const std::string& folder :
         {Path(name), Path(name + "/checkpoints")}) {
      const std::vector<std::string> entries = *ListDirectory(folder);
      for (const std::string& entry : entries) {
        EXPECT_FALSE(absl::StrContains(entry, "damaged")) << entry;
        EXPECT_FALSE(absl::StrContains(entry, "tmp")) << entry;
      }
    }
  }

  // Every call of a run from `from`, a run's folder that is copied, if any.
  // Returns how many there were.
  int Sweep(Kind kind, const std::string& from = "") {
    const auto begin = [&](const std::string& name) {
      ASSERT_TRUE(RemoveTree(Path(name)).ok());
      if (!from.empty()) CopyRun(from, name);
    };
    begin("counted");
    EXPECT_EQ(Train("counted", {}), 0);
    ExpectSameRun("whole", "counted");
    const int calls = CallsOf("counted");
    for (int at = 1; at <= calls; at += Stride()) {
      SCOPED_TRACE(absl::StrCat("call ", at, " of ", calls));
      begin("faulty");
      const int code = Train("faulty", {.kind = kind, .at = at});
      if (kind == Kind::kError) {
        EXPECT_THAT(code, AnyOf(0, 1));
      } else {
        // Threads may take turns in another way, and end before.
        EXPECT_THAT(code, AnyOf(kKilled, at > calls - 8 ? 0 : kKilled));
      }
      EXPECT_EQ(Train("faulty", {}), 0);
      ExpectSame("faulty");
      ExpectNoLeftovers("faulty");
      if (HasFailure()) break;
      ++tried_;
    }
    std::fprintf(stderr, "%d of %d calls tried so far\n", tried_, calls);
    return calls;
  }

  // As "whole", but for reports of saves that failed.
  void ExpectSame(const std::string& name) const {
    for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
      EXPECT_TRUE(CheckpointFile("whole", kSteps, file) ==
                  CheckpointFile(name, kSteps, file))
          << file;
    }
    std::vector<std::string> lines;
    for (const std::string& line : Metrics(name)) {
      if (!absl::StrContains(line, "not_saved")) lines.push_back(line);
    }
    EXPECT_EQ(lines, Metrics("whole"));
  }

  int ranks_ = 1;
  std::vector<std::string> overrides_;
  int tried_ = 0;
};

TEST_F(FaultSweepTest, KilledAnywhere) {
  ASSERT_TRUE(Run(ConfigOf("whole")).ok());
  for (const char* mode : {"true", "false"}) {
    overrides_ = {absl::StrCat("checkpoint.asynchronous=", mode)};
    EXPECT_GT(Sweep(Kind::kKill), 150);
  }
}

TEST_F(FaultSweepTest, WithoutPowerAnywhere) {
  ASSERT_TRUE(Run(ConfigOf("whole")).ok());
  EXPECT_GT(Sweep(Kind::kPowerCut), 150);
}

TEST_F(FaultSweepTest, AnyCallFails) {
  ASSERT_TRUE(Run(ConfigOf("whole")).ok());
  for (const char* policy : {"STOP", "GO_ON"}) {
    overrides_ = {absl::StrCat("checkpoint.on_failure=", policy)};
    EXPECT_GT(Sweep(Kind::kError), 150);
  }
}

// Of a run that goes on: it reads, removes what a dead writer left, and saves.
TEST_F(FaultSweepTest, KilledAnywhereOnceMore) {
  ASSERT_TRUE(Run(ConfigOf("whole")).ok());
  // In the middle of the second save.
  int at = 0;
  do {
    ASSERT_TRUE(RemoveTree(Path("killed")).ok());
    ASSERT_EQ(Train("killed", {.kind = Kind::kKill, .at = at += 10}), kKilled);
  } while (!IsDirectory(Path("killed/checkpoints/.tmp-step-6")));
  EXPECT_GT(Sweep(Kind::kKill, "killed"), 100);
  EXPECT_GT(Sweep(Kind::kError, "killed"), 100);
}

TEST_F(FaultSweepTest, TwoRanksKilledAnywhere) {
  ASSERT_TRUE(Run(ConfigOf("whole")).ok());
  ranks_ = 2;
  for (const char* sharding : {"NONE", "PARAMETERS"}) {
    overrides_ = {absl::StrCat("distributed.sharding=", sharding)};
    EXPECT_GT(Sweep(Kind::kKill), 150);
  }
}

// Ranks are processes here, and the one that writes dies alone.
class LeadSweepTest : public FaultSweepTest {
 protected:
  static int FreePort() {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    NW_CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
    NW_CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) ==
             0);
    close(fd);
    return ntohs(address.sin_port);
  }

  // The exit codes of both ranks, of which the lead meets the fault.
  std::pair<int, int> TrainBoth(const std::string& name, Fault fault) const {
    fault.path = Path(name) + "/";
    Place place;
    place.world_size = place.local_world_size = 2;
    place.coordinator = absl::StrCat("127.0.0.1:", FreePort());
    place.run_id = "sweep";
    place.token = "secret";
    const auto rank = [&](int number) {
      return StartProcess([=, this] {
        SetNumThreads(1);
        Place mine = place;
        mine.rank = mine.local_rank = number;
        mine.hosts_coordinator = number == 0;
        if (number == 0) SetFault(fault);
        const auto world = World::Join(mine, ConfigOf(name));
        if (!world.ok()) return 2;
        const absl::Status status = [&]() -> absl::Status {
          NW_ASSIGN_OR_RETURN(
              const auto trainer,
              Trainer::Create(ConfigOf(name), "auto", (*world)->groups()));
          return trainer->Run().status();
        }();
        return (*world)->Leave(status).ok() ? 0 : 1;
      });
    };
    const int lead = rank(0), other = rank(1);
    return {WaitForProcess(lead), WaitForProcess(other)};
  }
};

TEST_F(LeadSweepTest, KilledAnywhere) {
  ASSERT_TRUE(Run(ConfigOf("whole")).ok());
  for (const char* sharding : {"NONE", "PARAMETERS"}) {
    overrides_ = {absl::StrCat("distributed.sharding=", sharding)};
    for (int at = 1; at <= 180; at += 3 * Stride()) {
      SCOPED_TRACE(absl::StrCat(sharding, ", call ", at));
      ASSERT_TRUE(RemoveTree(Path("faulty")).ok());
      const auto [lead, other] =
          TrainBoth("faulty", {.kind = Kind::kKill, .at = at});
      EXPECT_EQ(lead, kKilled);
      EXPECT_NE(other, 0);
      const auto again = TrainBoth("faulty", {});
      EXPECT_EQ(again, std::pair(0, 0));
      ExpectSame("faulty");
      ExpectNoLeftovers("faulty");
      if (HasFailure()) break;
      ++tried_;
    }
  }
  std::fprintf(stderr, "%d calls tried\n", tried_);
}

}  // namespace
}  // namespace nextword

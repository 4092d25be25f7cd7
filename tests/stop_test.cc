// Requests to stop: from signals, from a clock, and what is made of them.
#include "autograd/base/stop.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "autograd/base/file.h"
#include "autograd/base/file_hash.h"
#include "autograd/base/hash.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

// What a process of its own ends with that does `body`; 128 + the signal's
// number when one ended it.
int ExitCodeOf(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(body());
  }
  int status;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// To this process, and waits until it was taken.
void Send(int signal) {
  kill(getpid(), signal);
  for (int i = 0; i < 200 && !StopRequested(); ++i) {
    absl::SleepFor(absl::Milliseconds(5));
  }
}

void Take() {
  WatchStopSignals();
  TakeStopSignals();
}

TEST(StopTest, ThereIsNoneAtFirst) {
  ForgetStop();
  EXPECT_FALSE(StopRequested());
  EXPECT_EQ(StopReason(), "");
  EXPECT_TRUE(CheckStop().ok());
}

TEST(StopTest, ASignalIsARequest) {
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    EXPECT_EQ(ExitCodeOf([&] {
                Take();
                Send(signal);
                const std::string name = signal == SIGTERM  ? "SIGTERM"
                                         : signal == SIGINT ? "SIGINT"
                                                            : "SIGUSR1";
                const absl::Status status = CheckStop();
                return absl::IsCancelled(status) &&
                               status.message() == "stopped by " + name
                           ? 7
                           : 1;
              }),
              7)
        << signal;
  }
}

TEST(StopTest, TheSameRequestMayComeTwice) {
  EXPECT_EQ(ExitCodeOf([] {
              Take();
              Send(SIGTERM);
              Send(SIGTERM);
              absl::SleepFor(absl::Milliseconds(100));
              return StopRequested() ? 7 : 1;
            }),
            7);
}

TEST(StopTest, ASecondRequestEndsTheProcess) {
  const auto twice = [](int signal) {
    return ExitCodeOf([signal] {
      Take();
      Send(SIGTERM);
      absl::SleepFor(absl::Milliseconds(1100));
      kill(getpid(), signal);
      absl::SleepFor(absl::Milliseconds(200));
      return 7;
    });
  };
  EXPECT_EQ(twice(SIGTERM), 128 + SIGTERM);
  EXPECT_EQ(twice(SIGINT), 128 + SIGINT);
  // A batch system's warning does not take back the time that it leaves.
  EXPECT_EQ(twice(SIGUSR1), 7);
}

TEST(StopTest, UntilItIsTakenASignalEndsTheProcess) {
  EXPECT_EQ(ExitCodeOf([] {
              WatchStopSignals();
              kill(getpid(), SIGTERM);
              absl::SleepFor(absl::Seconds(5));
              return 7;
            }),
            128 + SIGTERM);
}

// See signal_during_matmul_test.
TEST(StopTest, SignalsInterruptNoOtherThread) {
  EXPECT_EQ(ExitCodeOf([] {
              Take();
              int blocked = 0;
              std::thread([&] {
                sigset_t mask;
                pthread_sigmask(SIG_SETMASK, nullptr, &mask);
                for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
                  blocked += sigismember(&mask, signal);
                }
              }).join();
              return blocked == 3 ? 7 : 1;
            }),
            7);
}

TEST(StopTest, ATimeComes) {
  ForgetStop();
  StopAt(absl::Now() + absl::Milliseconds(30));
  EXPECT_FALSE(StopRequested());
  absl::SleepFor(absl::Milliseconds(40));
  EXPECT_TRUE(StopRequested());
  EXPECT_EQ(StopReason(), "--stop-after");
  ForgetStop();
  StopAt(absl::Now() - absl::Hours(1));
  EXPECT_TRUE(StopRequested());
  ForgetStop();
  EXPECT_FALSE(StopRequested());
}

TEST(StopTest, WaitsWhileItIsDelayed) {
  ForgetStop();
  RequestStop("a test");
  {
    const StopDelay outer;
    { const StopDelay inner; }
    EXPECT_TRUE(CheckStop().ok());
  }
  EXPECT_FALSE(CheckStop().ok());
  ForgetStop();
}

TEST(StopTest, EndsLongReads) {
  ForgetStop();
  const std::string path = testing::TempDir() + "/long_read";
  const std::string bytes(1'000'000, 'x');
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  const auto file = FileReader::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*HashFile(*file), Hash64(bytes));
  RequestStop("a test");
  EXPECT_EQ(HashFile(*file).status().message(), "stopped by a test");
  ForgetStop();
}

}  // namespace
}  // namespace nextword

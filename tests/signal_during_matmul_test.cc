// Signals during matrix products. oneDNN's f32 kernels for AVX-512 have the
// stack pointer in a buffer on the heap while the inner dimension is long: the
// frame of a handler that runs on such a thread lands beside that buffer.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/base/stop.h"
#include "autograd/kernels/kernels.h"
#include "autograd/tensor/tensor.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

constexpr int kFine = 7;

// Products of GPT-2's head, backward, under a hail of signals.
int MultiplyUnderSignals() {
  alarm(60);
  WatchStopSignals();
  TakeStopSignals();
  std::atomic<bool> done = false;
  std::thread hail([&] {
    while (!done) {
      kill(getpid(), SIGUSR1);
      absl::SleepFor(absl::Microseconds(200));
    }
  });
  const Tensor a = Zeros({256, 50257}, DType::kF32);
  const Tensor b = Zeros({50257, 64}, DType::kF32);
  Tensor c = Empty({256, 64}, DType::kF32);
  const absl::Time end = absl::Now() + absl::Seconds(4);
  while (absl::Now() < end) kernels::matmul(a, false, b, false, false, &c);
  done = true;
  hail.join();
  return StopRequested() ? kFine : 1;
}

TEST(SignalDuringMatmulTest, LeavesTheHeapAlone) {
  const pid_t child = fork();
  if (child == 0) _exit(MultiplyUnderSignals());
  int status;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), kFine);
}

}  // namespace
}  // namespace nextword

#include "autograd/base/stop.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace nextword {
namespace {

constexpr int64_t kNever = INT64_MAX;
constexpr int64_t kSameRequestNanoseconds = 1'000'000'000;

std::atomic<const char*> stop_reason{nullptr};
std::atomic<int64_t> first_signal_at{kNever};
std::atomic<int64_t> stop_at{kNever};
std::atomic<int> delays{0};
std::atomic<bool> taken{false};
std::atomic<int64_t> polls_left{kNever};

int64_t MonotonicNanoseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

const char* NameOf(int signal) {
  if (signal == SIGINT) return "SIGINT";
  return signal == SIGTERM ? "SIGTERM" : "SIGUSR1";
}

void OnSignal(int signal) {
  if (!taken) _exit(128 + signal);
  const int64_t now = MonotonicNanoseconds();
  int64_t first = kNever;
  if (first_signal_at.compare_exchange_strong(first, now)) {
    RequestStop(NameOf(signal));
  } else if (now - first > kSameRequestNanoseconds && signal != SIGUSR1) {
    _exit(128 + signal);
  }
}

}  // namespace

void WatchStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    sigaddset(&signals, signal);
  }
  // Threads that are started later inherit it.
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals] {
    int signal;
    while (sigwait(&signals, &signal) == 0) OnSignal(signal);
  }).detach();
}

void TakeStopSignals() { taken = true; }

void StopAt(absl::Time time) {
  const absl::Duration left = time - absl::Now();
  stop_at = MonotonicNanoseconds() + absl::ToInt64Nanoseconds(left);
}

void RequestStop(const char* reason) {
  const char* none = nullptr;
  stop_reason.compare_exchange_strong(none, reason);
}

StopDelay::StopDelay() { ++delays; }
StopDelay::~StopDelay() { --delays; }

bool StopRequested() {
  if (delays.load(std::memory_order_relaxed) > 0) return false;
  if (polls_left.load(std::memory_order_relaxed) != kNever &&
      polls_left.fetch_sub(1) == 1) {
    RequestStop("a test");
  }
  if (stop_reason.load(std::memory_order_relaxed) != nullptr) return true;
  const int64_t at = stop_at.load(std::memory_order_relaxed);
  if (at == kNever || MonotonicNanoseconds() < at) return false;
  RequestStop("--stop-after");
  return true;
}

std::string StopReason() {
  const char* const reason = stop_reason;
  return reason == nullptr ? "" : reason;
}

absl::Status CheckStop() {
  if (!StopRequested()) return absl::OkStatus();
  return absl::CancelledError(absl::StrCat("stopped by ", StopReason()));
}

void RequestStopAtPoll(int64_t count) { polls_left = count; }

void ForgetStop() {
  polls_left = kNever;
  stop_reason = nullptr;
  first_signal_at = kNever;
  stop_at = kNever;
}

}  // namespace nextword

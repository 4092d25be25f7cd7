// A request to stop: a signal, or a time that has come. The program goes on
// until it asks, at places where it can stop and nothing is lost. Thread-safe.
#ifndef NEXTWORD_AUTOGRAD_BASE_STOP_H_
#define NEXTWORD_AUTOGRAD_BASE_STOP_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace nextword {

// Has a thread of its own take SIGTERM, SIGINT and SIGUSR1 (which batch systems
// send some time before they end a job), so that none interrupts a thread that
// computes: oneDNN's f32 kernels move the stack pointer into the heap, where a
// handler's frame would overwrite what lies beside it. Called by the first
// thread before there are others. A signal ends the process at once, with 128 +
// its number, until TakeStopSignals.
void WatchStopSignals();

// From now on they are requests. A second one ends the process at once; one
// that follows within a second does not, for the same request may come twice,
// to a job and to its processes.
void TakeStopSignals();

// A request at `time`.
void StopAt(absl::Time time);

// Asks for it from within.
void RequestStop(const char* reason);  // A literal.

bool StopRequested();

// "SIGTERM", "--stop-after"; empty when there is no request.
std::string StopReason();

// Error, Cancelled: there is a request; "stopped by SIGTERM".
absl::Status CheckStop();

// While one lives, requests wait: nothing sees them before it is gone.
class StopDelay {
 public:
  StopDelay();
  ~StopDelay();
  StopDelay(const StopDelay&) = delete;
  StopDelay& operator=(const StopDelay&) = delete;
};

// For tests: a request when somebody asks for the `count`-th time from now on.
void RequestStopAtPoll(int64_t count);

// For tests: forgets requests.
void ForgetStop();

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_BASE_STOP_H_

// Spans of time: which thread did what, from when to when.
//
// While tracing is off, a span costs one relaxed atomic load. While it is on,
// each thread appends its spans to a log of its own, without a lock. Spans of
// one thread nest. Span is thread-safe; Start, Stop and Collect are for one
// thread at a time. Logs live as long as the process.
#ifndef NEXTWORD_AUTOGRAD_BASE_TRACE_H_
#define NEXTWORD_AUTOGRAD_BASE_TRACE_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace nextword::trace {

class ThreadLog;

// Number of the tracing under way, from 1 on; 0 while tracing is off.
inline constinit std::atomic<int64_t> current_session{0};

inline bool IsOn() {
  return current_session.load(std::memory_order_relaxed) != 0;
}

// Starts to record, and forgets what was recorded before.
void Start();

// Ends it. Spans that are open stay out, and so do those that open from now on.
void Stop();

// What was to be done in a span, at least: operations of matrix products, a
// multiply-add counted as two, and bytes read and written, each once.
struct Work {
  double flops = 0;
  double bytes = 0;
};

// A span from construction to destruction. `category` and `name` are plain
// words that outlive the tracing, such as literals.
class Span {
 public:
  Span(const char* category, const char* name) {
    if (IsOn()) [[unlikely]] {
      Open(category, name);
    }
  }
  ~Span() {
    if (log_ != nullptr) [[unlikely]] {
      Close();
    }
  }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

  // Whether it is being recorded; only then has its work to be known.
  bool is_recorded() const { return log_ != nullptr; }
  void SetWork(const Work& work) { work_ = work; }

 protected:
  Span() = default;
  void Open(const char* category, const char* name);

 private:
  friend class Origin;
  void Close();

  ThreadLog* log_ = nullptr;  // Null for a span that is not recorded.
  Span* outer_;               // The span that was open when this one opened.
  const char* category_;
  const char* name_;
  int64_t session_;
  int64_t start_;
  int64_t nested_;  // Time of the spans right inside this one.
  Work work_;
};

// Where a parallel loop starts: the innermost span of the calling thread.
class Origin {
 public:
  Origin() {
    if (IsOn()) [[unlikely]] {
      Find();
    }
  }

 private:
  friend class WorkerSpan;
  void Find();

  const char* name_ = nullptr;  // Null where nothing is to be recorded.
  const ThreadLog* log_ = nullptr;
};

// On the threads that help with a loop, a span of category "worker" with the
// name of the span that the loop is in. Nothing on the calling thread itself.
class WorkerSpan : public Span {
 public:
  explicit WorkerSpan(const Origin& origin) {
    if (origin.name_ != nullptr) [[unlikely]] {
      OpenOn(origin);
    }
  }

 private:
  void OpenOn(const Origin& origin);
};

// Tells when a device did what a span has queued on it, which may be much
// later.
class DeviceClock {
 public:
  // Where a kernel is noted; nowhere, if there is no room.
  struct Place {
    void* log = nullptr;
    int64_t index = 0;
    int64_t session = 0;
  };

  virtual ~DeviceClock() = default;

  // Around what the calling thread queues for one kernel. Kernels of a thread
  // nest.
  virtual Place Begin(int device, const char* name, const Work& work) = 0;
  virtual void End(const Place& place) = 0;

  // Forgets all, which has ended.
  virtual void Clear() = 0;

  // Waits for the devices. A ThreadTrace for each queue, whose spans are of
  // category "device" and start at times of the steady clock.
  virtual std::vector<struct ThreadTrace> Collect() = 0;
};

// That of a kind of device that has queues. Returns true, so that it can
// initialise a static variable.
bool RegisterDeviceClock(DeviceClock* clock);

// A kernel on a device, from Open to destruction; nothing without a clock.
class DeviceSpan {
 public:
  DeviceSpan() = default;
  ~DeviceSpan();
  DeviceSpan(const DeviceSpan&) = delete;
  DeviceSpan& operator=(const DeviceSpan&) = delete;

  void Open(int device, const char* name, const Work& work);

 private:
  DeviceClock::Place place_;
};

// Times are in nanoseconds since Start.
struct SpanRecord {
  const char* category;
  const char* name;
  int64_t start;
  int64_t duration;
  int64_t self;  // The duration without the spans nested in it.
  Work work;
};

struct ThreadTrace {
  int64_t id;        // The system's.
  std::string name;  // "main", or "thread N" in order of their first spans.
  std::vector<SpanRecord> spans;  // In the order in which they ended.
  int64_t dropped = 0;            // Spans beyond kMaxSpans.
};

// Spans that are kept for each thread.
inline constexpr int64_t kMaxSpans = int64_t{1} << 22;

// What was recorded since the last Start, by thread, and then by device queue.
// After Stop, where there are devices.
std::vector<ThreadTrace> Collect();

}  // namespace nextword::trace

#endif  // NEXTWORD_AUTOGRAD_BASE_TRACE_H_

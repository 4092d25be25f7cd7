#include "autograd/base/trace.h"

#include <unistd.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <utility>

namespace nextword::trace {
namespace {

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

constinit DeviceClock* device_clock = nullptr;  // Set while statics are made.

// Of the tracing that was started last.
int64_t last_session = 0;
int64_t last_start = 0;

}  // namespace

// Written by its thread alone. Blocks stay where they are and sizes are
// released after what they count, so that others may read at any time.
class ThreadLog {
 public:
  explicit ThreadLog(int64_t number) : id_(gettid()), number_(number) {}

  // Empties the log when what it holds is of an earlier session.
  void Enter(int64_t session) {
    if (session_.load(std::memory_order_relaxed) == session) return;
    session_.store(0, std::memory_order_release);
    size_.store(0, std::memory_order_release);
    dropped_.store(0, std::memory_order_release);
    last_ = &first_;
    session_.store(session, std::memory_order_release);
  }

  void Append(const SpanRecord& record) {
    const int64_t size = size_.load(std::memory_order_relaxed);
    if (size == kMaxSpans) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    const int64_t place = size % kBlock;
    if (place == 0 && size > 0) {
      if (last_->next == nullptr) last_->next = std::make_unique<Block>();
      last_ = last_->next.get();
    }
    last_->records[place] = record;
    size_.store(size + 1, std::memory_order_release);
  }

  bool IsOf(int64_t session) const {
    return session_.load(std::memory_order_acquire) == session;
  }

  // Times from `start` on.
  ThreadTrace Read(int64_t start) const {
    ThreadTrace thread;
    thread.id = id_;
    thread.name =
        id_ == getpid() ? "main" : "thread " + std::to_string(number_);
    thread.dropped = dropped_.load(std::memory_order_acquire);
    const int64_t size = size_.load(std::memory_order_acquire);
    const Block* block = &first_;
    for (int64_t i = 0; i < size; ++i) {
      if (i > 0 && i % kBlock == 0) block = block->next.get();
      thread.spans.push_back(block->records[i % kBlock]);
      thread.spans.back().start -= start;
    }
    return thread;
  }

  Span* innermost = nullptr;

 private:
  static constexpr int64_t kBlock = 512;
  struct Block {
    SpanRecord records[kBlock];
    std::unique_ptr<Block> next;
  };

  const int64_t id_;
  const int64_t number_;
  std::atomic<int64_t> session_{0};
  std::atomic<int64_t> size_{0};
  std::atomic<int64_t> dropped_{0};
  Block first_;
  Block* last_ = &first_;
};

namespace {

// Threads outlive no log: a log is read after its thread has ended.
struct Registry {
  std::mutex mutex;
  std::vector<std::unique_ptr<ThreadLog>> logs;
};

Registry& TheRegistry() {
  static Registry* const registry = new Registry;
  return *registry;
}

ThreadLog* LogOfThisThread() {
  thread_local ThreadLog* log = nullptr;
  if (log == nullptr) {
    Registry& registry = TheRegistry();
    const std::lock_guard<std::mutex> lock(registry.mutex);
    const auto number = static_cast<int64_t>(registry.logs.size());
    registry.logs.push_back(std::make_unique<ThreadLog>(number));
    log = registry.logs.back().get();
  }
  return log;
}

}  // namespace

void Start() {
  Stop();
  if (device_clock != nullptr) device_clock->Clear();
  last_start = Now();
  current_session.store(++last_session, std::memory_order_release);
}

void Stop() { current_session.store(0, std::memory_order_release); }

void Span::Open(const char* category, const char* name) {
  session_ = current_session.load(std::memory_order_acquire);
  if (session_ == 0) return;
  log_ = LogOfThisThread();
  log_->Enter(session_);
  category_ = category;
  name_ = name;
  nested_ = 0;
  outer_ = log_->innermost;
  log_->innermost = this;
  start_ = Now();
}

void Span::Close() {
  const int64_t duration = Now() - start_;
  log_->innermost = outer_;
  if (current_session.load(std::memory_order_acquire) != session_) return;
  if (outer_ != nullptr) outer_->nested_ += duration;
  log_->Append({category_, name_, start_, duration, duration - nested_, work_});
}

void Origin::Find() {
  log_ = LogOfThisThread();
  name_ = log_->innermost != nullptr ? log_->innermost->name_ : "parallel";
}

void WorkerSpan::OpenOn(const Origin& origin) {
  if (LogOfThisThread() != origin.log_) Open("worker", origin.name_);
}

std::vector<ThreadTrace> Collect() {
  Registry& registry = TheRegistry();
  const std::lock_guard<std::mutex> lock(registry.mutex);
  std::vector<ThreadTrace> threads;
  for (const auto& log : registry.logs) {
    if (log->IsOf(last_session)) threads.push_back(log->Read(last_start));
  }
  if (device_clock == nullptr) return threads;
  for (ThreadTrace& queue : device_clock->Collect()) {
    for (SpanRecord& span : queue.spans) span.start -= last_start;
    threads.push_back(std::move(queue));
  }
  return threads;
}

bool RegisterDeviceClock(DeviceClock* clock) {
  device_clock = clock;
  return true;
}

DeviceSpan::~DeviceSpan() {
  if (place_.log != nullptr) device_clock->End(place_);
}

void DeviceSpan::Open(int device, const char* name, const Work& work) {
  if (device_clock != nullptr) {
    place_ = device_clock->Begin(device, name, work);
  }
}

}  // namespace nextword::trace

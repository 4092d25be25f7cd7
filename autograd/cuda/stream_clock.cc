// When kernels ran on GPUs, for traces: an event in the stream before and after
// what each queues. Register-only; see trace.h.
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/trace.h"
#include "autograd/cuda/cuda_check.h"
#include "autograd/cuda/cuda_device.h"

namespace nextword {
namespace {

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t Nanoseconds(cudaEvent_t from, cudaEvent_t to) {
  float milliseconds = 0;
  NW_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, from, to));
  return static_cast<int64_t>(1e6 * static_cast<double>(milliseconds));
}

// The kernels of a stream, in the order in which they were queued. One thread
// queues them.
struct StreamLog {
  struct Kernel {
    const char* name;
    trace::Work work;
    cudaEvent_t begin, end;
    int64_t outer;  // The kernel that this one is a part of; -1: none.
    bool ended;
  };

  std::string name;
  Device device;
  cudaStream_t stream;
  std::vector<Kernel> kernels;
  int64_t innermost = -1;  // Of those that have not ended.
  int64_t dropped = 0;
};

class StreamClock : public trace::DeviceClock {
 public:
  void Clear() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    logs_.clear();
    for (auto& [device, events] : events_) events.used = 0;
    ++session_;
  }

  Place Begin(int device, const char* name, const trace::Work& work) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    StreamLog& log = LogOf({DeviceType::kCuda, device});
    if (log.kernels.size() == kMaxKernels) {
      ++log.dropped;
      return {};
    }
    const auto index = static_cast<int64_t>(log.kernels.size());
    log.kernels.push_back({name, work, NextEvent(log), NextEvent(log),
                           std::exchange(log.innermost, index), false});
    NW_CUDA_CHECK(cudaEventRecord(log.kernels.back().begin, log.stream));
    return {&log, index, session_};
  }

  void End(const Place& place) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (place.session != session_) return;
    StreamLog& log = *static_cast<StreamLog*>(place.log);
    StreamLog::Kernel& kernel = log.kernels[place.index];
    log.innermost = kernel.outer;
    kernel.ended = true;
    NW_CUDA_CHECK(cudaEventRecord(kernel.end, log.stream));
  }

  std::vector<trace::ThreadTrace> Collect() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<trace::ThreadTrace> traces;
    for (auto& [key, log] : logs_) {
      const std::vector<int64_t> begins = Begins(log);
      trace::ThreadTrace trace{
          .id = kFirstId + static_cast<int64_t>(traces.size()),
          .name = log.name,
          .spans = {},
          .dropped = log.dropped};
      std::vector<size_t> places(log.kernels.size());  // Among the spans.
      for (size_t i = 0; i < log.kernels.size(); ++i) {
        const StreamLog::Kernel& kernel = log.kernels[i];
        if (!kernel.ended) continue;
        places[i] = trace.spans.size();
        const int64_t duration = Nanoseconds(kernel.begin, kernel.end);
        trace.spans.push_back({"device", kernel.name, begins[i], duration,
                               duration, kernel.work});
        if (kernel.outer >= 0 && log.kernels[kernel.outer].ended) {
          trace.spans[places[kernel.outer]].self -= duration;
        }
      }
      traces.push_back(std::move(trace));
    }
    return traces;
  }

 private:
  // Above those of threads, within the 32 bits that viewers have for them.
  static constexpr int64_t kFirstId = int64_t{1} << 30;
  // Of a stream: hundreds of passes of a large model.
  static constexpr size_t kMaxKernels = size_t{1} << 20;

  StreamLog& LogOf(Device device) {
    const cudaStream_t stream = StreamOf(device);
    const auto [found, is_new] = logs_.try_emplace({device.index, stream});
    StreamLog& log = found->second;
    if (!is_new) return log;
    log.device = device;
    log.stream = stream;
    log.name = absl::StrCat("cuda:", device.index, " stream ", logs_.size());
    return log;
  }

  // Events of a device, which is current, are kept for tracings to come.
  struct Events {
    std::vector<cudaEvent_t> all;
    size_t used = 0;
  };
  cudaEvent_t NextEvent(const StreamLog& log) {
    Events& events = events_[log.device.index];
    if (events.used == events.all.size()) {
      NW_CUDA_CHECK(cudaEventCreate(&events.all.emplace_back()));
    }
    return events.all[events.used++];
  }

  // When the kernels of a stream began, by the steady clock. Backwards from now
  // and from one to the next: times between events are floats, too coarse for
  // long ones. Not by an event at first, which had to be waited for.
  std::vector<int64_t> Begins(const StreamLog& log) {
    StreamOf(log.device);  // Makes the device current.
    cudaEvent_t next = NextEvent(log);
    NW_CUDA_CHECK(cudaEventRecord(next, log.stream));
    NW_CUDA_CHECK(cudaEventSynchronize(next));
    int64_t time = Now();
    std::vector<int64_t> begins(log.kernels.size());
    for (size_t i = begins.size(); i-- > 0;) {
      time -= Nanoseconds(log.kernels[i].begin, next);
      next = log.kernels[i].begin;
      begins[i] = time;
    }
    return begins;
  }

  std::mutex mutex_;
  std::map<std::pair<int, cudaStream_t>, StreamLog> logs_;
  std::map<int, Events> events_;  // By device.
  int64_t session_ = 0;           // Counts calls of Clear.
};

[[maybe_unused]] const bool registered =
    trace::RegisterDeviceClock(new StreamClock);

}  // namespace
}  // namespace nextword

// Work that a device does again and again. Where it can, the device records
// what the host queues, to repeat all of it at one call: on NVIDIA's GPUs, a
// CUDA graph. Not thread-safe.
#ifndef NEXTWORD_AUTOGRAD_TENSOR_REPEATED_WORK_H_
#define NEXTWORD_AUTOGRAD_TENSOR_REPEATED_WORK_H_

#include <functional>
#include <memory>

#include "autograd/tensor/device.h"

namespace nextword {

// What a device has recorded.
class Recording {
 public:
  virtual ~Recording() = default;
  // Queues all of it, on the memory that it was recorded with.
  virtual void Replay() = 0;
};

// Records what `queue` queues on device `index`, instead of doing it. Null, and
// `queue` is not called, where that cannot be. `queue` neither waits for the
// device nor brings it bytes, and frees what it allocates, nothing else.
using Recorder = std::unique_ptr<Recording> (*)(
    int index, const std::function<void()>& queue);

// Called while the program starts by the library of a type of device. Returns
// true, so that it can initialise a static variable.
bool RegisterRecorder(DeviceType type, Recorder record);

class RepeatedWork {
 public:
  // `queue` queues the work, on the conditions above; the same kernels on the
  // same memory each time.
  RepeatedWork(Device device, std::function<void()> queue);

  RepeatedWork(const RepeatedWork&) = delete;
  RepeatedWork& operator=(const RepeatedWork&) = delete;

  // Queues the work once more. The first time as ever, for libraries then look
  // around and allocate; so also while tracing is on, as replays are not seen.
  void Run();

  bool is_recorded() const { return recording_ != nullptr; }

 private:
  const Device device_;
  const std::function<void()> queue_;
  bool has_run_ = false;
  std::unique_ptr<Recording> recording_;
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_TENSOR_REPEATED_WORK_H_

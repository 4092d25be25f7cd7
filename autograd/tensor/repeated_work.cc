#include "autograd/tensor/repeated_work.h"

#include <utility>

#include "autograd/base/interruptible.h"
#include "autograd/base/trace.h"

namespace nextword {
namespace {

Recorder& RecorderFor(DeviceType type) {
  static Recorder recorders[kNumDeviceTypes] = {};
  return recorders[static_cast<int>(type)];
}

}  // namespace

bool RegisterRecorder(DeviceType type, Recorder record) {
  RecorderFor(type) = record;
  return true;
}

RepeatedWork::RepeatedWork(Device device, std::function<void()> queue)
    : device_(device), queue_(std::move(queue)) {}

void RepeatedWork::Run() {
  const Recorder record = RecorderFor(device_.type);
  if (recording_ == nullptr && has_run_ && record != nullptr &&
      !trace::IsOn()) {
    recording_ = record(device_.index, queue_);
    // Kernels were left out.
    if (InterruptibleScope::LeaveOut()) recording_ = nullptr;
  }
  has_run_ = true;
  if (recording_ == nullptr || trace::IsOn()) return queue_();
  recording_->Replay();
}

}  // namespace nextword

#include "distributed/device.h"

namespace nextword {

absl::StatusOr<Device> DeviceOf(DeviceKind kind) {
  const bool has_cuda = DeviceCount(DeviceType::kCuda) > 0;
  if (kind == CUDA && !has_cuda) {
    return absl::FailedPreconditionError(
        "device: is CUDA, but this machine has no GPU that this build can use: "
        "a build with --config=cuda, a GPU and its driver are wanted");
  }
  if (kind == CPU || !has_cuda) return Device::Cpu();
  return Device::Cuda();
}

}  // namespace nextword

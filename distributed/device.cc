#include "distributed/device.h"

namespace nextword {

absl::StatusOr<Device> DeviceOf(DeviceKind kind) {
  const bool has_cuda = DeviceCount(DeviceType::kCuda) > 0;
  if (kind == CUDA && !has_cuda) {
    return absl::FailedPreconditionError(
        IsBuiltFor(DeviceType::kCuda)
            ? "device: is CUDA, but there is no GPU here, or no driver for it"
            : "device: is CUDA, but this program was built without it; build "
              "with --config=cuda");
  }
  if (kind == CPU || !has_cuda) return Device::Cpu();
  return Device::Cuda();
}

}  // namespace nextword

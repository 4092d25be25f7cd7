#include "distributed/device.h"

#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"
#include "autograd/base/log.h"
#include "autograd/kernels/kernels.h"

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
  const Device gpu = Device::Cuda();
  const absl::Status usable = CheckDevice(gpu.type, gpu.index);
  if (usable.ok()) return gpu;
  const std::string reason(usable.message());
  if (kind == CUDA) {
    return absl::FailedPreconditionError(
        absl::StrCat("device: is CUDA, but the GPU cannot be used: ", reason));
  }
  static std::once_flag once;
  std::call_once(once, [&] {
    Log::warn("device: AUTO is the CPU, since the GPU cannot be used: {}",
              reason);
  });
  return Device::Cpu();
}

absl::Status CheckKernelsFor(const ModelConfig& model, Device device) {
  const int64_t size = model.head_dim();
  if (device.type == DeviceType::kCpu || size <= kernels::kMaxGpuHeadSize) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "model.head_dim: is ", size, "; attention on a GPU takes at most ",
      kernels::kMaxGpuHeadSize, ", on a CPU any number (device: CPU)"));
}

}  // namespace nextword

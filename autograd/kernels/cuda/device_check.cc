#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "autograd/kernels/cuda/device_code.h"
#include "autograd/tensor/device.h"

namespace nextword::kernels::cuda {
namespace {

absl::Status CheckCode(int index) {
  const cudaError_t error = LoadKernel(index);
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      DescribeDevice(DeviceType::kCuda, index), ", does not load our kernels (",
      cudaGetErrorName(error), ": ", cudaGetErrorString(error),
      "); bazel build's --define=cuda_archs names the GPUs to compile for"));
}

[[maybe_unused]] const bool registered =
    RegisterDeviceCheck(DeviceType::kCuda, CheckCode);

}  // namespace
}  // namespace nextword::kernels::cuda

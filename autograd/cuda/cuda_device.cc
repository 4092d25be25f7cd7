#include "autograd/cuda/cuda_device.h"

#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/check.h"
#include "autograd/cuda/cuda_check.h"

namespace nextword {
namespace {

struct CudaDevice {
  std::once_flag once;
  cudaStream_t stream = nullptr;
  int multiprocessors = 0;
};

// Of a thread that has one (UseStream).
thread_local cudaStream_t own_stream = nullptr;

// 0 without a GPU, or without its driver.
int CountDevices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess) return count;
  cudaGetLastError();  // Or the next launch would report it.
  return 0;
}

// "13.0" of CUDA's 13000.
std::string VersionText(int version) {
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

std::string Describe(int index) {
  cudaDeviceProp properties;
  int driver = 0, runtime = 0;
  const cudaError_t error = cudaGetDeviceProperties(&properties, index);
  if (error != cudaSuccess) {  // Of a GPU that nobody need have asked for.
    cudaGetLastError();
    return absl::StrCat("out of order: ", cudaGetErrorName(error));
  }
  NW_CUDA_CHECK(cudaDriverGetVersion(&driver));
  NW_CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
  return absl::StrCat(properties.name, ", compute capability ",
                      properties.major, ".", properties.minor,
                      ", driver for CUDA ", VersionText(driver), ", runtime ",
                      VersionText(runtime));
}

CudaDevice& Get(Device device) {
  static auto* const devices =
      new std::vector<CudaDevice>(DeviceCount(DeviceType::kCuda));
  NW_CHECK(device.type == DeviceType::kCuda && device.index >= 0 &&
           device.index < static_cast<int>(devices->size()))
      << "no device " << device << " here, which has " << devices->size();
  CudaDevice& state = (*devices)[device.index];
  NW_CUDA_CHECK(cudaSetDevice(device.index));
  std::call_once(state.once, [&] {
    NW_CUDA_CHECK(
        cudaStreamCreateWithFlags(&state.stream, cudaStreamNonBlocking));
    NW_CUDA_CHECK(cudaDeviceGetAttribute(
        &state.multiprocessors, cudaDevAttrMultiProcessorCount, device.index));
  });
  return state;
}

[[maybe_unused]] const bool registered =
    RegisterDevices(DeviceType::kCuda, CountDevices, Describe);

}  // namespace

cudaStream_t StreamOf(Device device) {
  CudaDevice& state = Get(device);
  return own_stream != nullptr ? own_stream : state.stream;
}

void UseStream(Device device, cudaStream_t stream) {
  NW_CHECK(own_stream == nullptr || own_stream == stream)
      << "a second stream for a thread";
  Get(device);
  own_stream = stream;
}

bool SynchronousLaunches() {
  static const bool synchronous = [] {
    const char* const value = std::getenv("NEXTWORD_CUDA_SYNC");
    return value != nullptr && std::string_view(value) == "1";
  }();
  return synchronous;
}

int NumMultiprocessors(Device device) { return Get(device).multiprocessors; }

}  // namespace nextword

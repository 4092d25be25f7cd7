#include "autograd/kernels/cuda/device_code.h"

namespace nextword::kernels::cuda {
namespace {

__global__ void Kernel() {}

}  // namespace

cudaError_t LoadKernel(int index) {
  cudaError_t error = cudaSetDevice(index);
  if (error == cudaSuccess) {
    cudaFuncAttributes attributes;
    error = cudaFuncGetAttributes(&attributes,
                                  reinterpret_cast<const void*>(&Kernel));
  }
  if (error != cudaSuccess) cudaGetLastError();  // Launches would report it.
  return error;
}

}  // namespace nextword::kernels::cuda

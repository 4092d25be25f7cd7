// What of CUDA's runtime nextword uses, on the CPU: tests run the very source
// of the GPU's kernels where there is no GPU.
//
// The threads of a block are fibers that switch at barriers and exchanges of
// warps; blocks run one after the other. Device memory is host memory, filled
// with NaN when it is allocated, so that reading what was never written shows.
// AddressSanitizer sees accesses out of bounds. With
// CUDA_EMULATOR_THREADS=descending in the environment, threads take their turns
// in the opposite order: comparing bits finds missing barriers. What it cannot
// show: speed, limits of the hardware, races between blocks.
#ifndef NEXTWORD_TESTS_CUDA_EMULATOR_CUDA_RUNTIME_H_
#define NEXTWORD_TESTS_CUDA_EMULATOR_CUDA_RUNTIME_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "cuda_language.h"

// The runtime's functions on host memory. One device; all work is done when a
// call returns.

enum cudaError_t {
  cudaSuccess,
  cudaErrorMemoryAllocation,
  cudaErrorNoKernelImageForDevice,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice
};
enum cudaMemPoolAttr {
  cudaMemPoolAttrReleaseThreshold,
  cudaMemPoolAttrReservedMemCurrent,
  cudaMemPoolAttrUsedMemCurrent
};
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount };

using cudaStream_t = struct EmulatedStream*;
struct EmulatedEvent {
  std::chrono::steady_clock::time_point time;
};
using cudaEvent_t = EmulatedEvent*;
using cudaMemPool_t = struct EmulatedPool*;

inline constexpr unsigned cudaStreamNonBlocking = 1;
inline constexpr unsigned cudaEventDisableTiming = 2;
inline constexpr unsigned cudaHostAllocDefault = 0;

inline const char* cudaGetErrorName(cudaError_t) { return "emulated"; }
inline const char* cudaGetErrorString(cudaError_t) { return "emulated"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 2;
  return cudaSuccess;
}

struct cudaDeviceProp {
  char name[256];
  int major, minor;
};
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"emulated GPU", 9, 0};
  return cudaSuccess;
}
struct cudaFuncAttributes {};
// As of a GPU that the code was not compiled for: CUDA_EMULATOR_NO_CODE in the
// environment.
inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void*) {
  return std::getenv("CUDA_EMULATOR_NO_CODE") == nullptr
             ? cudaSuccess
             : cudaErrorNoKernelImageForDevice;
}
inline cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
inline cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = nullptr;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t);
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EmulatedEvent;
  return cudaSuccess;
}
inline cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, 0);
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->time = std::chrono::steady_clock::now();
  return cudaSuccess;
}
inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from,
                                        cudaEvent_t to) {
  *milliseconds =
      std::chrono::duration<float, std::milli>(to->time - from->time).count();
  return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return cudaStreamSynchronize(nullptr);
}

inline cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  *pool = nullptr;
  return cudaSuccess;
}
inline cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr,
                                           void*) {
  return cudaSuccess;
}
inline cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr,
                                           void* value) {
  *static_cast<uint64_t*>(value) = 0;
  return cudaSuccess;
}
inline cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) {
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t);
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t);
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned);

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes,
                                   cudaMemcpyKind, cudaStream_t) {
  cuda_emulator::Do([=] {
    if (bytes > 0) std::memcpy(to, from, bytes);
  });
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes,
                                   cudaStream_t) {
  cuda_emulator::Do([=] {
    if (bytes > 0) std::memset(to, value, bytes);
  });
  return cudaSuccess;
}

#include "cuda_graphs.h"

#endif  // NEXTWORD_TESTS_CUDA_EMULATOR_CUDA_RUNTIME_H_

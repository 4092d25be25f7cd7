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
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#define NEXTWORD_CUDA_EMULATOR

#define __host__
#define __device__
#define __global__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  explicit dim3(unsigned x, unsigned y = 1, unsigned z = 1)
      : x(x), y(y), z(z) {}
};

// Of the fiber that runs.
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_emulator {

// Does it, or, while work is recorded, does it each time that the recording is
// launched.
void Do(std::function<void()> work);

// Calls kernel() once for each thread of each block.
void Run(const dim3& grid, const dim3& block, std::function<void()> kernel);

// Waits for all threads of the block. Ends the process when one has returned
// instead.
void Barrier();

// Waits for all threads of the warp; returns what thread `lane` of it gave. The
// result is valid until the next call.
const void* Exchange(const void* value, size_t size, unsigned lane);

[[noreturn]] void Trap();

}  // namespace cuda_emulator

inline void __syncthreads() { cuda_emulator::Barrier(); }
inline void __trap() { cuda_emulator::Trap(); }

template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  T result;
  std::memcpy(&result,
              cuda_emulator::Exchange(&value, sizeof(T),
                                      static_cast<unsigned>(lane) % 32),
              sizeof(T));
  return result;
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  return __shfl_sync(mask, value, static_cast<int>(threadIdx.x % 32) ^ lanes);
}

// Threads take turns, so each of their operations is whole.
template <typename T>
T atomicAdd(T* address, T value) {
  const T before = *address;
  *address += value;
  return before;
}
template <typename T>
T atomicMax(T* address, T value) {
  const T before = *address;
  if (value > before) *address = value;
  return before;
}

inline void __syncwarp(unsigned = 0xffffffffu) { __shfl_sync(0, 0, 0); }

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

// Graphs are recorded by one thread. Memory of a graph is its own, NaN from
// each allocation on and again once it is freed. To wait while recording, to
// free other memory, or to leave some, ends the process.

enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
enum cudaStreamCaptureStatus {
  cudaStreamCaptureStatusNone,
  cudaStreamCaptureStatusActive
};
using cudaGraph_t = struct EmulatedGraph*;
using cudaGraphExec_t = struct EmulatedGraph*;

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus*);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);
// Fails once for want of memory: CUDA_EMULATOR_NO_GRAPH_MEMORY in the
// environment, which it then takes away.
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
inline cudaError_t cudaDeviceGraphMemTrim(int) { return cudaSuccess; }

enum cudaGraphMemAttributeType { cudaGraphMemAttrReservedMemCurrent };
inline cudaError_t cudaDeviceGetGraphMemAttribute(int,
                                                  cudaGraphMemAttributeType,
                                                  void* value) {
  *static_cast<uint64_t*>(value) = 0;
  return cudaSuccess;
}

#endif  // NEXTWORD_TESTS_CUDA_EMULATOR_CUDA_RUNTIME_H_

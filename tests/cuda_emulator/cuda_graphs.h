// CUDA graphs of the emulated runtime; part of cuda_runtime.h, which includes
// it.
#ifndef NEXTWORD_TESTS_CUDA_EMULATOR_CUDA_GRAPHS_H_
#define NEXTWORD_TESTS_CUDA_EMULATOR_CUDA_GRAPHS_H_

#include "cuda_runtime.h"

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

#endif  // NEXTWORD_TESTS_CUDA_EMULATOR_CUDA_GRAPHS_H_

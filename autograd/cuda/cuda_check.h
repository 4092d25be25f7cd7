// CHECKs for calls of the CUDA runtime.
#ifndef NEXTWORD_AUTOGRAD_CUDA_CUDA_CHECK_H_
#define NEXTWORD_AUTOGRAD_CUDA_CUDA_CHECK_H_

#include <cuda_runtime.h>

#include "autograd/base/check.h"

// A failed call of the runtime ends the process: after most errors the device
// accepts no further work. An error may be that of an earlier, asynchronous
// kernel; with NEXTWORD_CUDA_SYNC=1 each launch waits, and names the right one.
#define NW_CUDA_CHECK(call)                                           \
  for (const cudaError_t nw_error = (call); nw_error != cudaSuccess;) \
  NW_CHECK(nw_error == cudaSuccess)                                   \
      << #call << ": " << cudaGetErrorName(nw_error) << ", "          \
      << cudaGetErrorString(nw_error) << " "

#endif  // NEXTWORD_AUTOGRAD_CUDA_CUDA_CHECK_H_

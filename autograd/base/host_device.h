// Marks functions that run on the host and, compiled by nvcc, on GPUs.
#ifndef NEXTWORD_AUTOGRAD_BASE_HOST_DEVICE_H_
#define NEXTWORD_AUTOGRAD_BASE_HOST_DEVICE_H_

#ifdef __CUDACC__
#define NW_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define NW_HOST_DEVICE inline __attribute__((always_inline))
#endif

#endif  // NEXTWORD_AUTOGRAD_BASE_HOST_DEVICE_H_

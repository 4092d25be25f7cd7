// What kernels are made of: strided loops, and sums over a block in a fixed
// order. Device code only.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CUDA_DEVICE_LOOPS_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CUDA_DEVICE_LOOPS_H_

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>

#include "autograd/kernels/cuda/launch.h"

#define NW_DEVICE __device__ __forceinline__

// Of a kernel's struct of parameters: it is indexed where it lies, and not in a
// copy in local memory.
#ifdef __CUDACC__
#define NW_GRID_CONSTANT __grid_constant__
#else
#define NW_GRID_CONSTANT
#endif

// For mistakes that only the data show: says so and ends the kernel, after
// which every call of the runtime fails.
#define NW_DEVICE_CHECK(condition, message, value)                  \
  do {                                                              \
    if (!(condition)) {                                             \
      printf("%s: %lld\n", message, static_cast<long long>(value)); \
      __trap();                                                     \
    }                                                               \
  } while (false)

namespace nextword::kernels::cuda {

// Calls f(i) for all i in [0, n), spread over the threads of the whole grid,
// neighbours to neighbours.
template <typename F>
NW_DEVICE void ForEachItem(int64_t n, const F& f) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
       i += step) {
    f(i);
  }
}

// Calls f(row) for all rows in [0, rows), spread over the blocks of the grid.
// All threads of a block get the same rows, so f may synchronise them.
template <typename F>
NW_DEVICE void ForEachRow(int64_t rows, const F& f) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) f(row);
}

// Calls f(i) for all i in [0, n), spread over the threads of the block.
template <typename F>
NW_DEVICE void ForEachInBlock(int64_t n, const F& f) {
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) f(i);
}

struct SumOf {
  template <typename C>
  NW_DEVICE C operator()(C a, C b) const {
    return a + b;
  }
};

struct MaxOf {
  template <typename C>
  NW_DEVICE C operator()(C a, C b) const {
    return b > a ? b : a;
  }
};

inline constexpr int kWarp = 32;

// The value of the thread whose lane differs by the bits of `lanes`. C is a
// number, or plain data of whole words.
template <typename C>
NW_DEVICE C Exchange(C value, int lanes) {
  if constexpr (std::is_arithmetic_v<C>) {
    return __shfl_xor_sync(0xffffffffu, value, lanes);
  } else {
    constexpr int kWords = sizeof(C) / sizeof(uint32_t);
    static_assert(sizeof(C) == kWords * sizeof(uint32_t));
    uint32_t words[kWords];
    memcpy(words, &value, sizeof(C));
    for (int i = 0; i < kWords; ++i) {
      words[i] = __shfl_xor_sync(0xffffffffu, words[i], lanes);
    }
    memcpy(&value, words, sizeof(C));
    return value;
  }
}

// The values of a warp's threads, combined pairwise: all get the same bits.
template <typename Op, typename C>
NW_DEVICE C CombineWarp(C value, const Op& op) {
  for (int lane = kWarp / 2; lane > 0; lane /= 2) {
    value = op(value, Exchange(value, lane));
  }
  return value;
}

// Those of a block's threads, whose number is a multiple of a warp: all get the
// same bits. `op` commutes. A barrier, to be reached by all threads.
template <typename Op, typename C>
NW_DEVICE C CombineBlock(C value, const Op& op) {
  __shared__ C warps[kWarp];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int count = blockDim.x / kWarp;
  value = CombineWarp(value, op);
  __syncthreads();  // All have read the result of the call before.
  if (lane == 0) warps[warp] = value;
  __syncthreads();
  C result = warps[0];
  for (int i = 1; i < count; ++i) result = op(result, warps[i]);
  return result;
}

// The sum of f(0) ... f(n - 1) over a block, at each of its threads.
template <typename C, typename F>
NW_DEVICE C BlockSum(int64_t n, const F& f) {
  C sum = 0;
  ForEachInBlock(n, [&](int64_t i) { sum += f(i); });
  return CombineBlock(sum, SumOf());
}

// The largest of f(0) ... f(n - 1), at least `floor`.
template <typename C, typename F>
NW_DEVICE C BlockMax(int64_t n, C floor, const F& f) {
  C largest = floor;
  ForEachInBlock(n, [&](int64_t i) { largest = MaxOf()(largest, f(i)); });
  return CombineBlock(largest, MaxOf());
}

}  // namespace nextword::kernels::cuda

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CUDA_DEVICE_LOOPS_H_

// What CUDA adds to the language, on the CPU; part of cuda_runtime.h, which
// includes it.
#ifndef NEXTWORD_TESTS_CUDA_EMULATOR_CUDA_LANGUAGE_H_
#define NEXTWORD_TESTS_CUDA_EMULATOR_CUDA_LANGUAGE_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
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

#endif  // NEXTWORD_TESTS_CUDA_EMULATOR_CUDA_LANGUAGE_H_

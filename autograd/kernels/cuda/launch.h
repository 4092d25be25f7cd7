// Launching of kernels, and the index arithmetic that they share.
//
// Included by files that nvcc compiles, and by tests that run the same files on
// the CPU (tests/cuda_emulator).
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CUDA_LAUNCH_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CUDA_LAUNCH_H_

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <type_traits>

#include "autograd/cuda/cuda_check.h"
#include "autograd/cuda/cuda_device.h"
#include "autograd/kernels/kernels.h"
#include "autograd/tensor/dtype.h"

namespace nextword::kernels::cuda {

// Threads of a block, where nothing speaks for another number.
inline constexpr int kThreads = 256;

// Blocks and threads of a launch.
struct Grid {
  int64_t blocks;
  int threads = kThreads;
};

// Enough blocks for a thread per item, but no more than keep the device busy:
// kernels stride over the rest (see ForEachItem).
inline Grid GridForItems(int64_t items, Device device) {
  const int64_t busy = int64_t{32} * NumMultiprocessors(device);
  const int64_t wanted = (items + kThreads - 1) / kThreads;
  return {std::clamp<int64_t>(wanted, 1, busy)};
}

// A block per row of `columns` elements, likewise (see ForEachRow), with no
// more threads than a row has work for. Their number fixes the order in which a
// row is summed, and follows from its length alone.
inline Grid GridForRows(int64_t rows, int64_t columns, Device device,
                        int64_t max_threads = kThreads) {
  constexpr int64_t kWarp = 32;
  const int64_t warps = std::clamp<int64_t>((columns + kWarp - 1) / kWarp, 1,
                                            max_threads / kWarp);
  return {
      std::clamp<int64_t>(rows, 1, int64_t{64} * NumMultiprocessors(device)),
      static_cast<int>(warps * kWarp)};
}

// Queues kernel(args...) on the device's stream. CHECKs that the launch was
// accepted.
template <typename... P, typename... A>
void Launch(Device device, Grid grid, void (*kernel)(P...), A&&... args) {
  const cudaStream_t stream = StreamOf(device);
  std::tuple<std::remove_const_t<P>...> values(std::forward<A>(args)...);
  const dim3 blocks(static_cast<unsigned>(grid.blocks));
  const dim3 threads(static_cast<unsigned>(grid.threads));
#ifdef NEXTWORD_CUDA_EMULATOR
  cuda_emulator::Run(blocks, threads,
                     [kernel, values] { std::apply(kernel, values); });
  (void)stream;
#else
  std::apply(
      [&](auto&... value) {
        void* pointers[] = {&value...};
        NW_CUDA_CHECK(cudaLaunchKernel(reinterpret_cast<const void*>(kernel),
                                       blocks, threads, pointers, 0, stream));
      },
      values);
  if (SynchronousLaunches()) NW_CUDA_CHECK(cudaStreamSynchronize(stream));
#endif
}

// Calls f(T{}) with the C++ type of a dtype that kernels compute with here.
template <typename F>
void DispatchF32OrBf16(DType dtype, const char* what, const F& f) {
  if (dtype == DType::kF32) return f(float{});
  if (dtype == DType::kBF16) return f(BFloat16{});
  NW_CHECK(false) << what << ": wants f32 or bf16 on a GPU, got " << dtype;
}

}  // namespace nextword::kernels::cuda

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CUDA_LAUNCH_H_

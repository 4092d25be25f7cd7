#include "autograd/kernels/cuda/sort_ids.h"

#include <limits>

#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"

#ifdef NEXTWORD_CUDA_EMULATOR
#include <algorithm>
#include <numeric>
#else
#include <cub/device/device_radix_sort.cuh>
#endif

namespace nextword::kernels::cuda {
namespace {

#ifdef NEXTWORD_CUDA_EMULATOR

void Sort(const int32_t* ids, int n, int32_t* sorted, int32_t* positions,
          Device) {
  cuda_emulator::Do([=] {
    std::iota(positions, positions + n, 0);
    std::stable_sort(positions, positions + n,
                     [=](int32_t a, int32_t b) { return ids[a] < ids[b]; });
    for (int i = 0; i < n; ++i) sorted[i] = ids[positions[i]];
  });
}

#else

__global__ void IotaKernel(int64_t n, int32_t* y) {
  ForEachItem(n, [=](int64_t i) { y[i] = static_cast<int32_t>(i); });
}

// CUB's radix sort is stable, and its result one of the input alone.
void Sort(const int32_t* ids, int n, int32_t* sorted, int32_t* positions,
          Device device) {
  const Tensor unsorted = Empty({n}, DType::kI32, device);
  Launch(device, GridForItems(n, device), IotaKernel, n,
         unsorted.data<int32_t>());
  size_t bytes = 0;
  const auto sort = [&](void* memory) {
    NW_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(
        memory, bytes, ids, sorted, unsorted.data<int32_t>(), positions, n, 0,
        32, StreamOf(device)));
  };
  sort(nullptr);  // Asks for the bytes that it needs.
  const Tensor memory =
      Empty({static_cast<int64_t>(bytes + 3) / 4}, DType::kI32, device);
  sort(memory.raw_data());
}

#endif

}  // namespace

SortedIds SortIds(const Tensor& ids) {
  const int64_t n = ids.numel();
  NW_CHECK_LE(n, std::numeric_limits<int>::max()) << "ids of one batch";
  const SortedIds result{Empty({n}, DType::kI32, ids.device()),
                         Empty({n}, DType::kI32, ids.device())};
  Sort(ids.data<int32_t>(), static_cast<int>(n), result.ids.data<int32_t>(),
       result.positions.data<int32_t>(), ids.device());
  return result;
}

}  // namespace nextword::kernels::cuda

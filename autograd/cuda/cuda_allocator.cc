#include "autograd/cuda/cuda_allocator.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/cuda/cuda_check.h"
#include "autograd/cuda/cuda_device.h"
#include "autograd/tensor/memory_label.h"

namespace nextword {
namespace {

Allocator& GetAllocator(int index) { return CudaAllocator::Get(index); }

[[maybe_unused]] const bool registered =
    RegisterAllocator(DeviceType::kCuda, GetAllocator);

// What the pool holds, of one attribute.
uint64_t PoolBytes(cudaMemPool_t pool, cudaMemPoolAttr attribute) {
  uint64_t bytes = 0;
  NW_CUDA_CHECK(cudaMemPoolGetAttribute(pool, attribute, &bytes));
  return bytes;
}

// What graphs hold.
uint64_t GraphBytes(int device) {
  uint64_t bytes = 0;
  NW_CUDA_CHECK(cudaDeviceGetGraphMemAttribute(
      device, cudaGraphMemAttrReservedMemCurrent, &bytes));
  return bytes;
}

}  // namespace

CudaAllocator& CudaAllocator::Get(int index) {
  // Each when it is first used: a GPU that nobody asked for may be out of
  // order.
  struct Slot {
    std::once_flag once;
    CudaAllocator* allocator = nullptr;
  };
  static auto* const slots =
      new std::vector<Slot>(DeviceCount(DeviceType::kCuda));
  NW_CHECK(index >= 0 && index < static_cast<int>(slots->size()))
      << "no device " << Device::Cuda(index) << " here, which has "
      << slots->size();
  Slot& slot = (*slots)[index];
  std::call_once(slot.once, [&] {
    slot.allocator = new CudaAllocator(Device::Cuda(index));
  });
  return *slot.allocator;
}

CudaAllocator::CudaAllocator(Device device) : device_(device) {
  NW_CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool_, device.index));
  uint64_t all = UINT64_MAX;  // Kept, instead of given back.
  NW_CUDA_CHECK(
      cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &all));
}

void* CudaAllocator::Allocate(size_t bytes) {
  const cudaStream_t stream = StreamOf(device_);
  void* pointer = nullptr;
  const auto allocate = [&] {
    return cudaMallocAsync(&pointer, std::max<size_t>(1, bytes), stream);
  };
  cudaError_t error = allocate();
  if (error == cudaErrorMemoryAllocation) {
    // What the pool keeps may be in pieces that are too small.
    cudaGetLastError();
    Trim();
    error = allocate();
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (error == cudaErrorMemoryAllocation) FailForWantOf(bytes);
  NW_CUDA_CHECK(error);
  const int64_t size = static_cast<int64_t>(bytes);
  stats_.live_bytes += size;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  blocks_[pointer] = {size, MemoryLabel::current()};
  return pointer;
}

void CudaAllocator::FailForWantOf(size_t bytes) {
  std::map<std::string, int64_t> held;
  for (const auto& [pointer, block] : blocks_) held[block.label] += block.bytes;
  std::vector<std::pair<int64_t, std::string>> holders;
  for (const auto& [label, sum] : held) holders.push_back({sum, label});
  std::sort(holders.rbegin(), holders.rend());

  constexpr double kMegabyte = 1e6;
  CheckFailure failure(__FILE__, __LINE__, "memory");
  failure.stream() << "out of memory on " << device_ << ", which has "
                   << static_cast<double>(Capacity()) / kMegabyte
                   << " MB for this process: "
                   << static_cast<double>(bytes) / kMegabyte
                   << " MB more wanted for " << MemoryLabel::current()
                   << ". In use:";
  if (const uint64_t graphs = GraphBytes(device_.index); graphs > 0) {
    failure.stream() << " a CUDA graph "
                     << static_cast<double>(graphs) / kMegabyte
                     << " MB (cuda_graph: false needs none);";
  }
  for (const auto& [sum, label] : holders) {
    failure.stream() << " " << label << " "
                     << static_cast<double>(sum) / kMegabyte << " MB;";
  }
  failure.stream() << " a smaller batch.micro_batch or model.recompute: BLOCK "
                      "needs less for activations, a smaller batch.lanes less "
                      "for gradients";
}

void CudaAllocator::Free(void* pointer, size_t bytes) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stats_.live_bytes -= static_cast<int64_t>(bytes);
    blocks_.erase(pointer);
  }
  NW_CUDA_CHECK(cudaFreeAsync(pointer, StreamOf(device_)));
}

void CudaAllocator::Upload(const void* host, void* to, size_t bytes) {
  const cudaStream_t stream = StreamOf(device_);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  NW_CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
  NW_CHECK(status == cudaStreamCaptureStatusNone)
      << "bytes of the host in a recording, which would repeat them";
  const std::lock_guard<std::mutex> lock(mutex_);
  uploads_.Upload(host, to, bytes, stream);
}

void CudaAllocator::Download(const void* from, void* host, size_t bytes) {
  const cudaStream_t stream = StreamOf(device_);
  // The driver's own way is slower for much, from memory that is not pinned.
  if (bytes > Staging::kBytes) {
    const std::lock_guard<std::mutex> lock(download_mutex_);
    return downloads_.Download(from, host, bytes, stream);
  }
  NW_CUDA_CHECK(
      cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream));
  Synchronize();
}

void CudaAllocator::Discard(void* pointer, size_t bytes) {
  NW_CUDA_CHECK(cudaMemsetAsync(pointer, 0, bytes, StreamOf(device_)));
}

void CudaAllocator::Synchronize() {
  NW_CUDA_CHECK(cudaStreamSynchronize(StreamOf(device_)));
}

void CudaAllocator::Trim() {
  Synchronize();
  NW_CUDA_CHECK(cudaMemPoolTrimTo(pool_, 0));
  NW_CUDA_CHECK(cudaDeviceGraphMemTrim(device_.index));
}

int64_t CudaAllocator::Capacity() const {
  StreamOf(device_);  // Makes the device current.
  size_t free = 0, total = 0;
  NW_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  // The rest is the driver's, or other processes'.
  return static_cast<int64_t>(
      free + PoolBytes(pool_, cudaMemPoolAttrReservedMemCurrent) +
      GraphBytes(device_.index));
}

AllocatorStats CudaAllocator::stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  AllocatorStats stats = stats_;
  stats.cached_bytes =
      static_cast<int64_t>(PoolBytes(pool_, cudaMemPoolAttrReservedMemCurrent) -
                           PoolBytes(pool_, cudaMemPoolAttrUsedMemCurrent));
  return stats;
}

void CudaAllocator::ResetPeak() {
  const std::lock_guard<std::mutex> lock(mutex_);
  stats_.peak_bytes = stats_.live_bytes;
}

}  // namespace nextword

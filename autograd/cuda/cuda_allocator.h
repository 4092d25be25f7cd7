// Memory of a GPU, from the driver's stream-ordered pool.
//
// The pool keeps what is freed, so that in steady state no call reaches the
// driver's slow path. All work of a device is in one stream: a block may be
// handed out again while the kernels that used it are still queued.
#ifndef NEXTWORD_AUTOGRAD_CUDA_CUDA_ALLOCATOR_H_
#define NEXTWORD_AUTOGRAD_CUDA_CUDA_ALLOCATOR_H_

#include <cuda_runtime.h>

#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "autograd/cuda/staging.h"
#include "autograd/tensor/allocator.h"
#include "autograd/tensor/device.h"

namespace nextword {

// Thread-safe.
class CudaAllocator : public Allocator {
 public:
  // That of device `index`.
  static CudaAllocator& Get(int index);

  void* Allocate(size_t bytes) override;
  void Free(void* pointer, size_t bytes) override;
  void Upload(const void* host, void* to, size_t bytes) override;
  void Download(const void* from, void* host, size_t bytes) override;
  void Discard(void* pointer, size_t bytes) override;  // Keeps the memory.
  void Synchronize() override;
  int64_t Capacity() const override;
  AllocatorStats stats() const override;
  void ResetPeak() override;

  // Waits, then gives back to the driver what is not in use.
  void Trim();

 private:
  explicit CudaAllocator(Device device);

  struct Block {
    int64_t bytes;
    const char* label;  // See MemoryLabel.
  };

  // Ends the process, saying who holds the memory and what to change.
  [[noreturn]] void FailForWantOf(size_t bytes);

  const Device device_;
  cudaMemPool_t pool_;
  mutable std::mutex mutex_;
  AllocatorStats stats_;
  std::unordered_map<void*, Block> blocks_;  // In use.
  Staging uploads_;
  std::mutex download_mutex_;
  Staging downloads_;
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_CUDA_CUDA_ALLOCATOR_H_

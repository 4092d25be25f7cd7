// Host memory that is kept for reuse: a training step asks for the same sizes
// as the one before it, so in steady state the system is never asked.
#ifndef NEXTWORD_AUTOGRAD_TENSOR_CPU_ALLOCATOR_H_
#define NEXTWORD_AUTOGRAD_TENSOR_CPU_ALLOCATOR_H_

#include <map>
#include <mutex>
#include <vector>

#include "autograd/tensor/allocator.h"

namespace nextword {

// Thread-safe. Sizes are rounded up to classes at most 1/8 apart; free blocks
// wait in one list per class. Under AddressSanitizer nothing is kept, so that
// a use after free is seen.
class CpuAllocator : public Allocator {
 public:
  static CpuAllocator& Get();

  void* Allocate(size_t bytes) override;
  void Free(void* pointer, size_t bytes) override;
  void Upload(const void* host, void* to, size_t bytes) override;
  void Download(const void* from, void* host, size_t bytes) override;
  void Discard(void* pointer, size_t bytes) override;
  void Synchronize() override {}
  int64_t Capacity() const override;
  AllocatorStats stats() const override;
  void ResetPeak() override;

  // Gives the cached blocks back to the system.
  void ReleaseCached();

 private:
  mutable std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;  // By class size.
  AllocatorStats stats_;
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_TENSOR_CPU_ALLOCATOR_H_

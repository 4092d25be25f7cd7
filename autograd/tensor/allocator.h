// Memory of a device: the interface, and what is in use.
#ifndef NEXTWORD_AUTOGRAD_TENSOR_ALLOCATOR_H_
#define NEXTWORD_AUTOGRAD_TENSOR_ALLOCATOR_H_

#include <cstddef>
#include <cstdint>

#include "autograd/tensor/device.h"

namespace nextword {

// Bytes as asked for, before any rounding.
struct AllocatorStats {
  int64_t live_bytes = 0;    // In use now.
  int64_t peak_bytes = 0;    // The most that was in use at once.
  int64_t cached_bytes = 0;  // Free, kept for reuse.
  int64_t system_calls = 0;  // Times that the system was asked for memory.
};

// Thread-safe. Lives as long as the process.
class Allocator {
 public:
  virtual ~Allocator() = default;

  // At least `bytes` bytes, aligned to 64; never null, also for 0 bytes.
  // Out of memory ends the process with a message.
  virtual void* Allocate(size_t bytes) = 0;
  virtual void Free(void* pointer, size_t bytes) = 0;

  virtual AllocatorStats stats() const = 0;
  virtual void ResetPeak() = 0;
};

// The allocator of a device. CHECKs that the build has that device.
Allocator& AllocatorFor(Device device);

// Called once by each device's library.
void RegisterAllocator(DeviceType type, Allocator& (*get)(int index));

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_TENSOR_ALLOCATOR_H_

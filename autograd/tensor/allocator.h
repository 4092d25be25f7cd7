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

  // Copies bytes from the host, which may reuse its own as soon as this
  // returns, or to the host, after all work that the device was given before.
  virtual void Upload(const void* host, void* to, size_t bytes) = 0;
  virtual void Download(const void* from, void* host, size_t bytes) = 0;

  // Makes bytes zero and, where the device can, gives their memory back to the
  // system until they are written to.
  virtual void Discard(void* pointer, size_t bytes) = 0;

  // Waits until all work that the device was given is done.
  virtual void Synchronize() = 0;

  // Bytes of the device that this process can have, those in use included.
  virtual int64_t Capacity() const = 0;

  virtual AllocatorStats stats() const = 0;
  virtual void ResetPeak() = 0;
};

// The allocator of a device. CHECKs that the build has that device.
Allocator& AllocatorFor(Device device);

// Called while the program starts by each device's library. Returns true, so
// that it can initialise a static variable.
bool RegisterAllocator(DeviceType type, Allocator& (*get)(int index));

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_TENSOR_ALLOCATOR_H_

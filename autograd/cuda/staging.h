// Pinned host memory through which bytes reach a GPU while the host goes on, or
// leave it as fast as they can.
#ifndef NEXTWORD_AUTOGRAD_CUDA_STAGING_H_
#define NEXTWORD_AUTOGRAD_CUDA_STAGING_H_

#include <cuda_runtime.h>

#include <array>
#include <cstddef>

namespace nextword {

// A few buffers in turn. A copy waits only for the one before the last ones,
// which used the same buffer. Not thread-safe.
class Staging {
 public:
  Staging() = default;
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Queues a copy of `bytes` bytes at `host`, which may be reused on return, to
  // device memory at `to`.
  void Upload(const void* host, void* to, size_t bytes, cudaStream_t stream);

  // The other way; returns when all bytes are there.
  void Download(const void* from, void* host, size_t bytes,
                cudaStream_t stream);

  // Of a buffer.
  static constexpr size_t kBytes = size_t{1} << 20;

 private:
  struct Buffer {
    char* data = nullptr;
    cudaEvent_t done = nullptr;  // Its last copy.
  };

  // The next buffer, once it is free.
  Buffer& Next();

  std::array<Buffer, 4> buffers_;
  size_t next_ = 0;
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_CUDA_STAGING_H_

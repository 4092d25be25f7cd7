#include "autograd/cuda/staging.h"

#include <algorithm>
#include <cstring>

#include "autograd/cuda/cuda_check.h"

namespace nextword {

Staging::Buffer& Staging::Next() {
  Buffer& buffer = buffers_[next_++ % buffers_.size()];
  if (buffer.data == nullptr) {
    void* data = nullptr;
    NW_CUDA_CHECK(cudaHostAlloc(&data, kBytes, cudaHostAllocDefault));
    buffer.data = static_cast<char*>(data);
    NW_CUDA_CHECK(
        cudaEventCreateWithFlags(&buffer.free, cudaEventDisableTiming));
  } else {
    NW_CUDA_CHECK(cudaEventSynchronize(buffer.free));
  }
  return buffer;
}

void Staging::Upload(const void* host, void* to, size_t bytes,
                     cudaStream_t stream) {
  for (size_t at = 0; at < bytes; at += kBytes) {
    const size_t count = std::min(kBytes, bytes - at);
    Buffer& buffer = Next();
    std::memcpy(buffer.data, static_cast<const char*>(host) + at, count);
    NW_CUDA_CHECK(cudaMemcpyAsync(static_cast<char*>(to) + at, buffer.data,
                                  count, cudaMemcpyHostToDevice, stream));
    NW_CUDA_CHECK(cudaEventRecord(buffer.free, stream));
  }
}

}  // namespace nextword

#include "autograd/cuda/staging.h"

#include <algorithm>
#include <cstring>
#include <deque>

#include "autograd/cuda/cuda_check.h"

namespace nextword {

Staging::Buffer& Staging::Next() {
  Buffer& buffer = buffers_[next_++ % buffers_.size()];
  if (buffer.data == nullptr) {
    void* data = nullptr;
    NW_CUDA_CHECK(cudaHostAlloc(&data, kBytes, cudaHostAllocDefault));
    buffer.data = static_cast<char*>(data);
    NW_CUDA_CHECK(
        cudaEventCreateWithFlags(&buffer.done, cudaEventDisableTiming));
  } else {
    NW_CUDA_CHECK(cudaEventSynchronize(buffer.done));
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
    NW_CUDA_CHECK(cudaEventRecord(buffer.done, stream));
  }
}

void Staging::Download(const void* from, void* host, size_t bytes,
                       cudaStream_t stream) {
  // While some parts are under way, those that have come are moved on.
  struct Part {
    const Buffer* buffer;
    size_t at, count;
  };
  std::deque<Part> under_way;
  const auto finish_first = [&] {
    const Part part = under_way.front();
    under_way.pop_front();
    NW_CUDA_CHECK(cudaEventSynchronize(part.buffer->done));
    std::memcpy(static_cast<char*>(host) + part.at, part.buffer->data,
                part.count);
  };
  for (size_t at = 0; at < bytes; at += kBytes) {
    if (under_way.size() == buffers_.size()) finish_first();
    const size_t count = std::min(kBytes, bytes - at);
    Buffer& buffer = Next();
    NW_CUDA_CHECK(cudaMemcpyAsync(buffer.data,
                                  static_cast<const char*>(from) + at, count,
                                  cudaMemcpyDeviceToHost, stream));
    NW_CUDA_CHECK(cudaEventRecord(buffer.done, stream));
    under_way.push_back({&buffer, at, count});
  }
  while (!under_way.empty()) finish_first();
}

}  // namespace nextword

#include "tools/commands/bandwidth.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "autograd/base/parallel.h"
#include "autograd/kernels/kernels.h"
#include "autograd/tensor/allocator.h"
#include "tools/commands/timing.h"

namespace nextword {
namespace {

constexpr int64_t kChunk = int64_t{1} << 20;

// By memcpy, which does what a kernel cannot: it writes past the caches.
void CopyOnCpu(const Tensor& from, const Tensor& to) {
  ParallelForEach(from.dim(0), [&](int64_t i) {
    std::memcpy(static_cast<char*>(to.raw_data()) + i * kChunk,
                static_cast<const char*>(from.raw_data()) + i * kChunk, kChunk);
  });
}

}  // namespace

double MeasureBandwidth(Device device, double seconds) {
  const bool on_cpu = device == Device::Cpu();
  const int64_t cache = std::max(0L, sysconf(_SC_LEVEL3_CACHE_SIZE));
  const int64_t chunks =
      on_cpu ? std::clamp<int64_t>(2 * cache / kChunk, 256, 1024) : 1024;
  const Tensor from = Zeros({chunks, kChunk / 4}, DType::kF32, device);
  Tensor to = Zeros({chunks, kChunk / 4}, DType::kF32, device);
  const int copies = on_cpu ? 1 : 10;  // Queued at once.
  const Timing timing = Measure(seconds, [&] {
    if (on_cpu) return CopyOnCpu(from, to);
    for (int i = 0; i < copies; ++i) kernels::copy(from, &to);
    AllocatorFor(device).Synchronize();
  });
  return 2.0 * copies * static_cast<double>(from.size_bytes()) / timing.best;
}

}  // namespace nextword

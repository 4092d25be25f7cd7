#include "autograd/tensor/cpu_allocator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "autograd/base/check.h"
#include "autograd/base/memory_limit.h"

namespace nextword {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr bool kKeepFreeBlocks = false;
#else
constexpr bool kKeepFreeBlocks = true;
#endif

constexpr size_t kAlignment = 64;

// Rounds up to a multiple of an eighth of the power of two below.
size_t ClassSize(size_t bytes) {
  const size_t size = std::max(bytes, kAlignment);
  const size_t step = std::max(kAlignment, std::bit_floor(size) / 8);
  return (size + step - 1) / step * step;
}

}  // namespace

CpuAllocator& CpuAllocator::Get() {
  static CpuAllocator* const allocator = new CpuAllocator;
  return *allocator;
}

void* CpuAllocator::Allocate(size_t bytes) {
  const size_t size = ClassSize(bytes);
  const std::lock_guard<std::mutex> lock(mutex_);
  stats_.live_bytes += static_cast<int64_t>(bytes);
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  std::vector<void*>& blocks = free_[size];
  if (!blocks.empty()) {
    void* const pointer = blocks.back();
    blocks.pop_back();
    stats_.cached_bytes -= static_cast<int64_t>(size);
    return pointer;
  }
  ++stats_.system_calls;
  void* const pointer = std::aligned_alloc(kAlignment, size);
  NW_CHECK(pointer != nullptr)
      << "out of memory: " << bytes << " bytes asked for while "
      << stats_.live_bytes << " are in use";
  return pointer;
}

void CpuAllocator::Free(void* pointer, size_t bytes) {
  const size_t size = ClassSize(bytes);
  const std::lock_guard<std::mutex> lock(mutex_);
  stats_.live_bytes -= static_cast<int64_t>(bytes);
  if (!kKeepFreeBlocks) {
    std::free(pointer);
    return;
  }
  stats_.cached_bytes += static_cast<int64_t>(size);
  free_[size].push_back(pointer);
}

void CpuAllocator::Upload(const void* host, void* to, size_t bytes) {
  std::memcpy(to, host, bytes);
}

void CpuAllocator::Download(const void* from, void* host, size_t bytes) {
  std::memcpy(host, from, bytes);
}

// The system takes whole pages; what reads them next finds zeros.
void CpuAllocator::Discard(void* pointer, size_t bytes) {
  static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGE_SIZE));
  char* const begin = static_cast<char*>(pointer);
  char* const end = begin + bytes;
  const auto up = [&](char* p) {
    return p + (page - reinterpret_cast<uintptr_t>(p) % page) % page;
  };
  char* const first = up(begin);
  char* const last = end - reinterpret_cast<uintptr_t>(end) % page;
  const size_t whole = first < last ? static_cast<size_t>(last - first) : 0;
  if (whole == 0 || madvise(first, whole, MADV_DONTNEED) != 0) {
    std::memset(begin, 0, bytes);
    return;
  }
  std::memset(begin, 0, static_cast<size_t>(first - begin));
  std::memset(last, 0, static_cast<size_t>(end - last));
}

int64_t CpuAllocator::Capacity() const {
  const int64_t machine =
      int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  return std::min(machine, MemoryLimit().value_or(machine));
}

AllocatorStats CpuAllocator::stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stats_;
}

void CpuAllocator::ResetPeak() {
  const std::lock_guard<std::mutex> lock(mutex_);
  stats_.peak_bytes = stats_.live_bytes;
}

void CpuAllocator::ReleaseCached() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto& [size, blocks] : free_) {
    for (void* block : blocks) std::free(block);
  }
  free_.clear();
  stats_.cached_bytes = 0;
}

}  // namespace nextword

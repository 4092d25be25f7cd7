// The CPU allocator: reuse, alignment, and what it says is in use.
#include "autograd/tensor/cpu_allocator.h"

#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "autograd/tensor/tensor.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr bool kReuses = false;
#else
constexpr bool kReuses = true;
#endif

class AllocatorTest : public ::testing::Test {
 protected:
  void SetUp() override { allocator_.ReleaseCached(); }

  CpuAllocator allocator_;
};

TEST_F(AllocatorTest, BlocksAreAlignedAndWritable) {
  for (size_t bytes : {0, 1, 63, 64, 65, 1000, 4097, 1 << 20}) {
    void* const block = allocator_.Allocate(bytes);
    EXPECT_NE(block, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 64, 0u);
    std::memset(block, 0xff, bytes);
    allocator_.Free(block, bytes);
  }
}

TEST_F(AllocatorTest, CountsWhatIsAskedFor) {
  void* const a = allocator_.Allocate(1000);
  void* const b = allocator_.Allocate(24);
  EXPECT_EQ(allocator_.stats().live_bytes, 1024);
  allocator_.Free(a, 1000);
  EXPECT_EQ(allocator_.stats().live_bytes, 24);
  EXPECT_EQ(allocator_.stats().peak_bytes, 1024);
  allocator_.ResetPeak();
  EXPECT_EQ(allocator_.stats().peak_bytes, 24);
  allocator_.Free(b, 24);
  EXPECT_EQ(allocator_.stats().live_bytes, 0);
}

TEST_F(AllocatorTest, SameSizesAreReused) {
  if (!kReuses) GTEST_SKIP() << "AddressSanitizer wants no reuse";
  void* const first = allocator_.Allocate(100000);
  allocator_.Free(first, 100000);
  EXPECT_GE(allocator_.stats().cached_bytes, 100000);
  EXPECT_LE(allocator_.stats().cached_bytes, 100000 * 9 / 8);
  const int64_t calls = allocator_.stats().system_calls;
  void* const second = allocator_.Allocate(100000 - 100);  // Same class.
  EXPECT_EQ(second, first);
  EXPECT_EQ(allocator_.stats().system_calls, calls);
  EXPECT_EQ(allocator_.stats().cached_bytes, 0);
  void* const other = allocator_.Allocate(200000);
  EXPECT_NE(other, first);
  EXPECT_EQ(allocator_.stats().system_calls, calls + 1);
  allocator_.Free(second, 100000 - 100);
  allocator_.Free(other, 200000);
  allocator_.ReleaseCached();
  EXPECT_EQ(allocator_.stats().cached_bytes, 0);
}

TEST_F(AllocatorTest, TensorsGiveTheirMemoryBack) {
  CpuAllocator& allocator = CpuAllocator::Get();
  const int64_t before = allocator.stats().live_bytes;
  {
    const Tensor x = Empty({10, 10}, DType::kF32);
    const Tensor view = x.Rows(2, 3);
    EXPECT_EQ(allocator.stats().live_bytes, before + 400);
  }
  EXPECT_EQ(allocator.stats().live_bytes, before);
}

TEST_F(AllocatorTest, SteadyStateAsksTheSystemForNothing) {
  if (!kReuses) GTEST_SKIP() << "AddressSanitizer wants no reuse";
  CpuAllocator& allocator = CpuAllocator::Get();
  const auto step = [] {
    std::vector<Tensor> tensors;
    for (int64_t n = 1; n < 50; ++n) {
      tensors.push_back(Empty({n, 1000}, DType::kF32));
    }
  };
  step();
  const int64_t calls = allocator.stats().system_calls;
  for (int i = 0; i < 10; ++i) step();
  EXPECT_EQ(allocator.stats().system_calls, calls);
}

TEST_F(AllocatorTest, ServesSeveralThreads) {
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([this, id] {
      for (int i = 0; i < 2000; ++i) {
        const size_t bytes = 64 * (1 + i % 7);
        char* const block = static_cast<char*>(allocator_.Allocate(bytes));
        std::memset(block, id, bytes);
        for (size_t j = 0; j < bytes; ++j) ASSERT_EQ(block[j], id);
        allocator_.Free(block, bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(allocator_.stats().live_bytes, 0);
}

}  // namespace
}  // namespace nextword

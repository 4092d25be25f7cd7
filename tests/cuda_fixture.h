// What tests of GPUs need, over the emulated runtime and on real ones.
#ifndef NEXTWORD_TESTS_CUDA_FIXTURE_H_
#define NEXTWORD_TESTS_CUDA_FIXTURE_H_

#include "autograd/base/parallel.h"
#include "autograd/tensor/device.h"
#include "gtest/gtest.h"

#ifdef NEXTWORD_TEST_CUDA_EMULATOR
#include "cuda_runtime.h"
#endif

namespace nextword {

// Skips its tests where there is no GPU.
class CudaFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    if (DeviceCount(DeviceType::kCuda) == 0) GTEST_SKIP() << "no GPU";
    SetNumThreads(1);
  }
};

// While it lives, emulated threads take turns in the opposite order, so that
// kernels which lack a barrier give other bits. On a real GPU, nothing.
class OtherThreadOrder {
 public:
  OtherThreadOrder() { SetDescending(true); }
  ~OtherThreadOrder() { SetDescending(false); }

 private:
  static void SetDescending([[maybe_unused]] bool descending) {
#ifdef NEXTWORD_TEST_CUDA_EMULATOR
    using cuda_emulator::ThreadOrder;
    cuda_emulator::SetThreadOrder(descending ? ThreadOrder::kDescending
                                             : ThreadOrder::kAscending);
#endif
  }
};

}  // namespace nextword

#endif  // NEXTWORD_TESTS_CUDA_FIXTURE_H_

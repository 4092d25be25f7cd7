// For tests of a GPU, real or emulated (see device_test.bzl).
#ifndef NEXTWORD_TESTS_TESTING_CUDA_H_
#define NEXTWORD_TESTS_TESTING_CUDA_H_

#include <cstdlib>
#include <vector>

#include "autograd/base/parallel.h"
#include "autograd/tensor/device.h"
#include "autograd/tensor/tensor.h"
#include "gtest/gtest.h"

namespace nextword {

// Skips where there is none.
class CudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (DeviceCount(DeviceType::kCuda) == 0) GTEST_SKIP() << "no GPU";
    SetNumThreads(1);
  }

  // A copy of `x` on the GPU, to be changed.
  static Tensor Copy(const Tensor& x) { return ToDevice(x, Device::Cuda()); }

  static std::vector<Tensor> OnCuda(std::vector<Tensor> tensors) {
    for (Tensor& x : tensors) x = Copy(x);
    return tensors;
  }
};

// While it lives, emulated threads take turns in the opposite order, so that
// kernels which lack a barrier give other bits. On a real GPU, nothing.
class OtherThreadOrder {
 public:
  OtherThreadOrder() { setenv(kVariable, "descending", 1); }
  ~OtherThreadOrder() { unsetenv(kVariable); }

 private:
  static constexpr char kVariable[] = "CUDA_EMULATOR_THREADS";
};

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_CUDA_H_

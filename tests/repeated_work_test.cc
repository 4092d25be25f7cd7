// What a GPU, real or emulated, records and repeats.
#include "autograd/tensor/repeated_work.h"

#include <cstdlib>
#include <vector>

#include "autograd/kernels/kernels.h"
#include "tests/testing_cuda.h"

namespace nextword {
namespace {

class RepeatedWorkTest : public CudaTest {};

TEST_F(RepeatedWorkTest, RepeatsWhatItRecorded) {
  const Tensor sum = Zeros({1001}, DType::kF32, Device::Cuda());
  Tensor x = Zeros({1001}, DType::kF32, Device::Cuda());
  int queued = 0;
  RepeatedWork work(Device::Cuda(), [&] {
    ++queued;
    // Memory of its own, used twice.
    Tensor doubled = EmptyLike(x);
    kernels::scale(x, 2, &doubled);
    doubled = Clone(doubled);
    Tensor to = sum;
    kernels::accumulate(doubled, &to);
  });
  std::vector<float> wanted(1001, 0);
  for (int i = 1; i <= 5; ++i) {
    kernels::fill(&x, i);
    // Of the emulated runtime: the launch finds no memory at first.
    if (i == 4) setenv("CUDA_EMULATOR_NO_GRAPH_MEMORY", "1", 1);
    work.Run();
    EXPECT_EQ(work.is_recorded(), i > 1);
    for (float& value : wanted) value += 2.0f * static_cast<float>(i);
    EXPECT_EQ(ToVector<float>(sum), wanted);
  }
  unsetenv("CUDA_EMULATOR_NO_GRAPH_MEMORY");
  EXPECT_EQ(queued, 2);
}

TEST_F(RepeatedWorkTest, DoesNotRecordWhatTheHostBrings) {
  RepeatedWork work(Device::Cuda(), [] {
    FromVector(std::vector<float>{1, 2}, {2}, Device::Cuda());
  });
  work.Run();
  // A forked child cannot use the GPU that its parent has used.
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(work.Run(), "bytes of the host in a recording");
}

}  // namespace
}  // namespace nextword

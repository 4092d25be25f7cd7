// Training on a GPU, real or emulated, against training on the CPU.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/base/status.h"
#include "autograd/base/trace.h"
#include "autograd/kernels/numerics.h"
#include "autograd/tensor/allocator.h"
#include "distributed/device.h"
#include "distributed/learner.h"
#include "distributed/train_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/optimizer.h"
#include "tests/testing.h"
#include "tests/testing_learner.h"
#include "tests/testing_models.h"

namespace nextword {
namespace {

constexpr int kSteps = 50;

class CudaTrainingTest : public testing::TestWithParam<bool> {
 protected:
  static ModelConfig Model() { return GetParam() ? LlamaLike() : Gpt2Like(); }

  void SetUp() override {
    if (TestDevice() == Device::Cpu()) GTEST_SKIP() << "no GPU";
  }
};

TEST_P(CudaTrainingTest, LossesAreThoseOfTheCpu) {
  const auto cpu = NewLearner(Model(), CPU);
  const auto gpu = NewLearner(Model(), CUDA);
  NW_CHECK_OK(cpu->Initialize());
  NW_CHECK_OK(gpu->Initialize());
  EXPECT_EQ(gpu->model().device(), Device::Cuda());
  const std::vector<double> wanted = Train(kSteps, cpu.get());
  const std::vector<double> got = Train(kSteps, gpu.get());
  EXPECT_LT(wanted.back(), 0.8 * wanted.front());
  for (int i = 0; i < kSteps; ++i) {
    EXPECT_NEAR(got[i], wanted[i], 1e-4 * wanted[i]) << "step " << i + 1;
  }
}

TEST_P(CudaTrainingTest, LossesInEightBitsAreNearThoseOfTheCpu) {
  for (const ComputeDType dtype : {FP8, FP8_HYBRID}) {
    std::vector<double> losses[2];
    for (const DeviceKind device : {CPU, CUDA}) {
      TrainConfig config = ConfigOf(Model(), device);
      config.set_compute_dtype(dtype);
      const auto learner = NewLearner(config);
      NW_CHECK_OK(learner->Initialize());
      losses[device == CUDA] = Train(5, learner.get());
    }
    for (int i = 0; i < 5; ++i) {
      EXPECT_NEAR(losses[1][i], losses[0][i], 2e-2 * losses[0][i]);
    }
  }
}

TEST_P(CudaTrainingTest, GoesOnOnTheOtherDevice) {
  for (const auto& [first, second] :
       {std::pair{CPU, CUDA}, std::pair{CUDA, CPU}}) {
    const auto whole = NewLearner(Model(), first);
    NW_CHECK_OK(whole->Initialize());
    Train(5, whole.get());
    const auto other = NewLearner(Model(), second);
    Continue(*whole, other.get());
    const std::vector<double> wanted = Train(5, whole.get());
    const std::vector<double> got = Train(5, other.get());
    for (int i = 0; i < 5; ++i)
      EXPECT_NEAR(got[i], wanted[i], 1e-4 * wanted[i]);
  }
}

// Counts how often the host walks through a backward pass.
void CountPasses(const Learner& learner, int* passes) {
  learner.parameters().entries()[0].variable.AddAccumulatedHook(
      [passes] { ++*passes; });
}

TEST_P(CudaTrainingTest, AGraphDoesNotChangeTheBits) {
  for (const auto& [recompute, dtype] :
       {std::pair{ModelConfig::NONE, F32}, std::pair{ModelConfig::MLP, BF16},
        std::pair{ModelConfig::BLOCK, BF16},
        std::pair{ModelConfig::NONE, FP8}}) {
    TrainConfig config = ConfigOf(Model(), CUDA);
    config.set_compute_dtype(dtype);
    config.mutable_model()->set_recompute(recompute);
    config.mutable_model()->set_residual_in_bf16(recompute ==
                                                 ModelConfig::BLOCK);
    config.mutable_batch()->set_micro_batches(2);
    config.mutable_data()->set_document_mask(true);
    const auto plain = NewLearner(config);
    config.set_cuda_graph(true);
    const auto graph = NewLearner(config);
    NW_CHECK_OK(plain->Initialize());
    NW_CHECK_OK(graph->Initialize());
    int passes = 0;
    CountPasses(*graph, &passes);
    EXPECT_EQ(Train(2, graph.get()), Train(2, plain.get()));
    EXPECT_THAT(graph->parameters().values(),
                HasBitsOf(plain->parameters().values()));
    // The first, and what was recorded; in eight bits, all of the first step,
    // whose scales are not yet known.
    EXPECT_EQ(passes, dtype == FP8 ? 4 + 2 : 2);
  }
}

// What follows a recording, such as an evaluation, goes on beside it.
TEST_P(CudaTrainingTest, AGraphLeavesTheDeviceToOthers) {
  TrainConfig config = ConfigOf(Model(), CUDA);
  const auto plain = NewLearner(config);
  config.set_cuda_graph(true);
  const auto graph = NewLearner(config);
  NW_CHECK_OK(plain->Initialize());
  NW_CHECK_OK(graph->Initialize());
  std::vector<double> losses;
  for (int i = 0; i < 3; ++i) {
    losses.push_back(Train(1, graph.get()).front());
    const std::vector<double> others = Train(1, plain.get());
    EXPECT_EQ(losses.back(), others.front());
    EXPECT_EQ(graph->WeightNorm().value(), plain->WeightNorm().value());
  }
  trace::Start();
  losses.push_back(Train(1, graph.get()).front());
  trace::Stop();
  EXPECT_EQ(losses.back(), Train(1, plain.get()).front());
  const std::vector<trace::ThreadTrace> traces = trace::Collect();
  EXPECT_TRUE(std::any_of(traces.begin(), traces.end(), [](const auto& thread) {
    return std::any_of(
        thread.spans.begin(), thread.spans.end(),
        [](const auto& span) { return std::string(span.name) == "linear"; });
  }));
  EXPECT_EQ(Train(1, graph.get()), Train(1, plain.get()));
}

INSTANTIATE_TEST_SUITE_P(IsLlama, CudaTrainingTest, testing::Bool());

ModelConfig TinyModel() {
  ModelConfig model;
  model.set_layers(1);
  model.set_hidden_size(8);
  model.set_num_heads(1);
  model.set_context_length(kLearnerLength);
  model.set_vocab_size(16);
  return model;
}

TEST(MemoryTest, MomentsAreAsPredicted) {
  for (const OptimizerKind kind : {ADAMW, SGD, MUON}) {
    TrainConfig config = ConfigOf(TinyModel(), CPU);
    config.mutable_optimizer()->set_kind(kind);
    const auto learner = Learner::Create(config, config.model(), Alone());
    NW_CHECK_OK(learner.status());
    int64_t bytes = 0;
    for (const NamedTensor& named : (*learner)->optimizer().State()) {
      bytes += named.tensor.numel() * static_cast<int64_t>(sizeof(float));
    }
    EXPECT_EQ(EstimateRankMemory(config, config.model(), 1).moments, bytes)
        << OptimizerKind_Name(kind);
  }
}

// Scores of attention grow with the square of the length.
TEST(MemoryTest, AnyOrderTakesLessOnAGpu) {
  TrainConfig config = ConfigOf(TinyModel(), CUDA);
  config.set_compute_dtype(BF16);
  config.mutable_model()->set_context_length(4096);
  config.mutable_batch()->set_sequence_length(4096);
  const auto libraries = [&] {
    return EstimateRankMemory(config, config.model(), 1).program;
  };
  const int64_t in_order = libraries();
  config.set_deterministic(false);
  EXPECT_LT(libraries(), in_order - (int64_t{4096} * 4096));
}

TEST(DeviceTest, AGpuWithoutCodeIsNotTakenUnasked) {
  if (DeviceCount(DeviceType::kCuda) == 0) GTEST_SKIP() << "no GPU";
  ASSERT_EQ(*DeviceOf(AUTO), Device::Cuda());
  if (!DescribeDevice(DeviceType::kCuda, 0).starts_with("emulated")) {
    GTEST_SKIP() << "the kernels of this program are for this GPU";
  }
  setenv("CUDA_EMULATOR_NO_CODE", "1", 1);
  EXPECT_EQ(*DeviceOf(AUTO), Device::Cpu());
  const absl::Status status = DeviceOf(CUDA).status();
  const std::string message(status.message());
  unsetenv("CUDA_EMULATOR_NO_CODE");
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(message, testing::StartsWith(
                           "device: is CUDA, but the GPU cannot be "
                           "used: emulated GPU, compute capability 9.0"));
  EXPECT_THAT(message, testing::HasSubstr("cuda_archs"));
}

TEST(DeviceTest, HeadsThatAreTooLargeForAGpuAreRefused) {
  ModelConfig model = TinyModel();
  model.set_head_dim(257);
  EXPECT_TRUE(CheckKernelsFor(model, Device::Cpu()).ok());
  EXPECT_EQ(CheckKernelsFor(model, Device::Cuda()).message(),
            "model.head_dim: is 257; attention on a GPU takes at most 256, on "
            "a CPU any number (device: CPU)");
  model.set_head_dim(256);
  EXPECT_TRUE(CheckKernelsFor(model, Device::Cuda()).ok());
  if (DeviceCount(DeviceType::kCuda) == 0) GTEST_SKIP() << "no GPU";
  model.set_head_dim(257);
  const TrainConfig config = ConfigOf(model, CUDA);
  EXPECT_TRUE(absl::IsInvalidArgument(
      Learner::Create(config, config.model(), Alone()).status()));
}

TEST(NumericsTest, IsWhatTheConfigAsksFor) {
  for (const ComputeDType dtype : {TF32, F32, TF32, BF16}) {
    TrainConfig config = ConfigOf(TinyModel(), CPU);
    config.set_compute_dtype(dtype);
    const auto learner = Learner::Create(config, config.model(), Alone());
    NW_CHECK_OK(learner.status());
    EXPECT_EQ(kernels::AllowTf32(), dtype == TF32);
  }
  for (const bool deterministic : {true, false, true}) {
    TrainConfig config = ConfigOf(TinyModel(), CPU);
    config.set_deterministic(deterministic);
    const auto learner = Learner::Create(config, config.model(), Alone());
    NW_CHECK_OK(learner.status());
    EXPECT_EQ(kernels::Deterministic(), deterministic);
  }
}

}  // namespace
}  // namespace nextword

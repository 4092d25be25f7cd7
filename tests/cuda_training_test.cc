// Training on a GPU, real or emulated, against training on the CPU.
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/base/status.h"
#include "autograd/kernels/matmul_precision.h"
#include "autograd/tensor/allocator.h"
#include "distributed/device.h"
#include "distributed/learner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/optimizer.h"
#include "tests/testing.h"
#include "tests/testing_models.h"

namespace nextword {
namespace {

constexpr int kSteps = 50;
constexpr int64_t kLength = 24;

TrainConfig ConfigOf(const ModelConfig& model, DeviceKind device) {
  TrainConfig config;
  config.set_seed(3);
  config.set_device(device);
  config.set_steps(kSteps);
  *config.mutable_model() = model;
  config.mutable_model()->set_init_std(0.02);
  config.mutable_batch()->set_lanes(2);
  config.mutable_batch()->set_micro_batch(2);
  config.mutable_batch()->set_sequence_length(kLength);
  config.mutable_optimizer()->set_learning_rate(5e-3);
  return config;
}

// Sequences that can be learnt: each id follows from the one before it.
void ReadSequences(int32_t vocab_size, uint64_t first, Batch* batch) {
  for (int64_t i = 0; i < batch->inputs.dim(0); ++i) {
    int64_t id = static_cast<int64_t>((first + i) * 7 % vocab_size);
    for (int64_t t = 0; t < kLength; ++t) {
      batch->input_row(i)[t] = static_cast<int32_t>(id);
      id = (3 * id + 1) % vocab_size;
      batch->target_row(i)[t] = static_cast<int32_t>(id);
    }
  }
}

std::unique_ptr<Learner> NewLearner(const ModelConfig& model,
                                    DeviceKind device) {
  const TrainConfig config = ConfigOf(model, device);
  auto learner = Learner::Create(config, config.model(), Alone());
  NW_CHECK_OK(learner.status());
  return *std::move(learner);
}

// The losses of the next `steps` steps.
std::vector<double> Train(int steps, Learner* learner) {
  std::vector<double> losses;
  const int32_t vocab_size = learner->model().config().vocab_size();
  for (int i = 0; i < steps; ++i) {
    const auto result = learner->Step([=](uint64_t first, Batch* batch) {
      ReadSequences(vocab_size, first, batch);
    });
    NW_CHECK_OK(result.status());
    losses.push_back(result->loss);
  }
  return losses;
}

// What a checkpoint holds goes from one learner to another.
void Continue(const Learner& from, Learner* to) {
  const auto copy = [&](const Tensor& x, Tensor y) {
    const std::vector<float> values = ToVector<float>(x);
    AllocatorFor(y.device())
        .Upload(values.data(), y.raw_data(), y.size_bytes());
  };
  copy(from.parameters().values(), to->parameters().values());
  const std::vector<NamedTensor> state = from.optimizer().State();
  const std::vector<NamedTensor> into = to->optimizer().State();
  ASSERT_EQ(state.size(), into.size());
  for (size_t i = 0; i < state.size(); ++i) {
    copy(state[i].tensor, into[i].tensor);
  }
  NW_CHECK_OK(to->ResumeAt(from.step(), from.next_sequence()));
}

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

INSTANTIATE_TEST_SUITE_P(IsLlama, CudaTrainingTest, testing::Bool());

ModelConfig TinyModel() {
  ModelConfig model;
  model.set_layers(1);
  model.set_hidden_size(8);
  model.set_num_heads(1);
  model.set_context_length(kLength);
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
    EXPECT_EQ(Learner::EstimateMemory(config, config.model(), 1).moments, bytes)
        << OptimizerKind_Name(kind);
  }
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

TEST(MatmulPrecisionTest, Tf32IsWhatTheConfigAsksFor) {
  for (const ComputeDType dtype : {TF32, F32, TF32, BF16}) {
    TrainConfig config = ConfigOf(TinyModel(), CPU);
    config.set_compute_dtype(dtype);
    const auto learner = Learner::Create(config, config.model(), Alone());
    NW_CHECK_OK(learner.status());
    EXPECT_EQ(kernels::AllowTf32(), dtype == TF32);
  }
}

}  // namespace
}  // namespace nextword

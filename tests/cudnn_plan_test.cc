// cuDNN compiles attention for an H100, without one: what the problems of
// training, of generation and of their corners become.
#include "autograd/kernels/cuda/cudnn_plan.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "autograd/kernels/score_memory.h"

namespace nextword::kernels::cuda {
namespace {

using ::testing::HasSubstr;

// An H100 SXM, as cuDNN describes devices.
constexpr char kH100[] = R"({
  "deviceVer": 900, "driverVer": 13000, "deviceName": "NVIDIA H100 80GB HBM3",
  "cudaDeviceId": 0, "totalGlobalMem": 85024112640,
  "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
  "regsPerBlock": 65536, "multiProcessorCount": 132, "warpSize": 32,
  "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448,
  "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536,
  "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048,
  "pciDeviceId": 0, "isTccDriver": 0, "supportCoopLaunch": 1,
  "smClockRateKHz": 1980000, "memClockRateKHz": 2619000,
  "l2CacheSize": 52428800})";

struct Case {
  const char* name;
  int64_t batch, queries, keys, heads, kv_heads, size;
  int64_t window = 0;
  bool documents = false;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

// On packed q, k and v, as the model has them, where there are as many queries
// as keys.
CudnnProblem ProblemOf(const Case& c) {
  const bool packed = c.queries == c.keys;
  const int64_t width = c.heads + 2 * c.kv_heads;
  const auto data = [&](int64_t length, int64_t heads) {
    return Empty({c.batch, length, packed ? width : heads, c.size},
                 DType::kBF16);
  };
  const Heads q = {data(c.queries, c.heads), 0, c.heads};
  const Heads k = {data(c.keys, c.kv_heads), 0, c.kv_heads};
  AttentionMask mask = {.keys = 0, .window = c.window, .documents = {}};
  if (c.documents) mask.documents = Empty({c.batch, c.keys}, DType::kI32);
  return CudnnProblem(q, k, k, 1 / std::sqrt(static_cast<double>(c.size)),
                      mask);
}

CudnnProblem GradientOf(const Case& c) {
  CudnnProblem problem = ProblemOf(c);
  problem.gradient = true;
  problem.gradient_widths = problem.widths;
  return problem;
}

class CudnnPlanTest : public ::testing::TestWithParam<Case> {
 protected:
  // The driver first: cuDNN takes what is loaded under its name.
  static void SetUpTestSuite() {
    driver_ = dlopen("tests/cuda_emulator/libcuda.so.1", RTLD_NOW);
    ASSERT_NE(driver_, nullptr) << dlerror();
  }

  void SetUp() override {
    const auto loaded = LoadCudnn();
    if (!loaded.ok()) GTEST_SKIP() << loaded.status();
  }

  static absl::StatusOr<CudnnPlan> Make(const CudnnProblem& problem) {
    return CudnnPlan::MakeWithoutGpu(problem, 90, kH100);
  }

  static std::string LastKernel() {
    using Function = const char*();
    return reinterpret_cast<Function*>(
        dlsym(driver_, "StandInDriverLastKernel"))();
  }

  static void* driver_;
};

void* CudnnPlanTest::driver_ = nullptr;

TEST_P(CudnnPlanTest, IsAFusedKernelOfTheH100) {
  const auto plan = Make(ProblemOf(GetParam()));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(LastKernel(), HasSubstr("sm90_flash_fprop")) << plan->name();
  EXPECT_LE(plan->workspace_bytes(), 1024);
}

TEST_P(CudnnPlanTest, GradientKeepsScoresInOrderToAddInOrder) {
  const Case& c = GetParam();
  const auto plan = Make(GradientOf(c));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(LastKernel(), HasSubstr("sm90_flash_bprop")) << plan->name();
  // As predicted, and some f32 for each query and element of a key.
  const int64_t scores =
      ScoreMemory::Of(1, c.heads, c.queries, c.keys).bytes * c.batch;
  EXPECT_GE(plan->workspace_bytes(), scores);
  EXPECT_LE(plan->workspace_bytes(),
            scores + 1024 +
                c.batch * c.heads * (4 * c.queries + 8 * c.keys * c.size));
}

// Queries' gradients in f32 then, to which each block of keys adds.
TEST_P(CudnnPlanTest, AnyOrderTakesNoScores) {
  const Case& c = GetParam();
  CudnnProblem problem = GradientOf(c);
  problem.deterministic = false;
  const auto plan = Make(problem);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(LastKernel(), HasSubstr("sm90_flash_bprop")) << plan->name();
  const int64_t sums = 4 * c.batch * c.heads * c.queries * c.size;
  EXPECT_GE(plan->workspace_bytes(), sums);
  EXPECT_LE(
      plan->workspace_bytes(),
      sums + 1024 + c.batch * c.heads * (8 * c.queries + 8 * c.keys * c.size));
}

INSTANTIATE_TEST_SUITE_P(
    , CudnnPlanTest,
    ::testing::Values(
        Case{"Gpt2", 16, 1024, 1024, 12, 12, 64},
        Case{"Gpt2_1558m", 4, 1024, 1024, 25, 25, 64},
        Case{"Llama8b", 1, 4096, 4096, 32, 8, 128},
        Case{"QuickStart", 16, 256, 256, 8, 8, 32},
        Case{"Window", 2, 1024, 1024, 8, 2, 64, 256},
        Case{"Documents", 16, 1024, 1024, 12, 12, 64, 0, true},
        Case{"GroupedDocuments", 1, 4096, 4096, 32, 8, 128, 0, true},
        Case{"WindowAndDocuments", 2, 1024, 1024, 8, 2, 64, 256, true},
        Case{"OddLength", 2, 77, 77, 4, 4, 64},
        Case{"OddWindow", 2, 77, 77, 4, 4, 64, 10},
        Case{"OddDocuments", 2, 77, 77, 4, 2, 24, 10, true},
        Case{"SmallestHeads", 2, 64, 64, 4, 4, 8},
        Case{"LargestHeads", 2, 128, 128, 4, 4, 256},
        Case{"MoreKeysThanQueries", 1, 16, 512, 8, 8, 64},
        Case{"MoreKeysAndWindow", 1, 16, 512, 8, 8, 64, 100}),
    [](const auto& info) { return info.param.name; });

// One new token over a cache that is full.
TEST_F(CudnnPlanTest, GeneratesFromAFullCache) {
  const auto plan = Make(ProblemOf({"", 1, 1, 512, 8, 8, 64}));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(LastKernel(), HasSubstr("flash_fprop"));
}

TEST_F(CudnnPlanTest, WhatCudnnLacksIsAnError) {
  for (const Case& c :
       {Case{"", 4, 1, 1, 4, 4, 64}, Case{"", 2, 128, 128, 4, 4, 264}}) {
    const auto plan = Make(GradientOf(c));
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(plan.status().message()), HasSubstr("cuDNN: "));
  }
}

TEST_F(CudnnPlanTest, ADescriptionMustBeOne) {
  const auto plan = CudnnPlan::MakeWithoutGpu(
      ProblemOf({"", 1, 64, 64, 1, 1, 64}), 90, "{\"deviceVer\": 900}");
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace nextword::kernels::cuda

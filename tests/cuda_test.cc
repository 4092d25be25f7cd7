// The kernels of GPUs against those of the CPU. Built twice: over the emulated
// runtime, which needs no GPU, and for real ones, where it skips itself when
// there is none.
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "autograd/base/trace_report.h"
#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/reduction.h"
#include "autograd/tensor/allocator.h"
#include "autograd/tensor/memory_label.h"
#include "tests/op_table.h"
#include "tests/testing.h"
#include "tests/testing_cuda.h"

namespace nextword {
namespace {

std::vector<Shapes> AllCases(const OpRow& row) {
  std::vector<Shapes> cases = row.cases;
  cases.push_back(row.large);
  return cases;
}

class CudaOpTest : public CudaTest,
                   public ::testing::WithParamInterface<OpRow> {
 protected:
  static Differentiated Compute(const Shapes& shapes, DType dtype) {
    return ForwardBackward(GetParam().function,
                           OnCuda(GetParam().Inputs(shapes, dtype)));
  }

  // Values and gradients at `dtype` on the GPU against f32 on the CPU.
  static void ExpectAgreement(DType dtype, double tolerance) {
    for (const Shapes& shapes : AllCases(GetParam())) {
      SCOPED_TRACE(::testing::PrintToString(shapes));
      const Differentiated got = Compute(shapes, dtype);
      const Differentiated wanted = ForwardBackward(
          GetParam().function, GetParam().Inputs(shapes, DType::kF32));
      EXPECT_THAT(got.value, IsNear(wanted.value, tolerance));
      for (size_t i = 0; i < shapes.size(); ++i) {
        SCOPED_TRACE("gradient of input " + std::to_string(i));
        EXPECT_EQ(got.gradients[i].dtype(), dtype);
        EXPECT_EQ(got.gradients[i].device(), Device::Cuda());
        EXPECT_THAT(got.gradients[i], IsNear(wanted.gradients[i], tolerance));
      }
    }
  }
};

TEST_P(CudaOpTest, F32MatchesTheCpu) { ExpectAgreement(DType::kF32, 1e-5); }

TEST_P(CudaOpTest, Bf16MatchesTheCpusF32) {
  ExpectAgreement(DType::kBF16, 1e-2);
}

TEST_P(CudaOpTest, SameBitsFromCallToCall) {
  for (const Shapes& shapes : AllCases(GetParam())) {
    SCOPED_TRACE(::testing::PrintToString(shapes));
    const Differentiated first = Compute(shapes, DType::kF32);
    const OtherThreadOrder scope;
    const Differentiated second = Compute(shapes, DType::kF32);
    EXPECT_THAT(second.value, HasBitsOf(first.value));
    for (size_t i = 0; i < shapes.size(); ++i) {
      SCOPED_TRACE("gradient of input " + std::to_string(i));
      EXPECT_THAT(second.gradients[i], HasBitsOf(first.gradients[i]));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, CudaOpTest, ::testing::ValuesIn(OpTable()),
                         [](const auto& info) { return info.param.Name(); });

// Those that no op calls, or not in every way.
class CudaKernelTest : public CudaTest {};

TEST_F(CudaKernelTest, FillsAndConverts) {
  for (const int64_t n : {0, 1, 31, 1000, 100'003}) {
    for (const DType dtype :
         {DType::kF32, DType::kBF16, DType::kI32, DType::kF64}) {
      Tensor x = Empty({n}, dtype, Device::Cuda());
      kernels::fill(&x, -3.0);
      Tensor wanted = Empty({n}, dtype);
      kernels::fill(&wanted, -3.0);
      EXPECT_THAT(x, HasBitsOf(wanted));
    }
    const Tensor x = RandomNormal({n}, 1, DType::kF32);
    EXPECT_THAT(Cast(Copy(x), DType::kBF16), HasBitsOf(Cast(x, DType::kBF16)));
    EXPECT_THAT(Clone(Copy(x)), HasBitsOf(x));
  }
}

// Ids that come often, by packs and one by one.
TEST_F(CudaKernelTest, AddsRowsOfATableInOrder) {
  for (const int64_t columns : {64, 67}) {
    for (const int64_t n : {1, 8, 9, 300}) {
      const Tensor ids = RandomIds({n}, 3, 1);
      const Tensor dy = RandomNormal({n, columns}, 2, DType::kF32);
      Tensor dw = RandomNormal({4, columns}, 3, DType::kF32);
      Tensor on_gpu = Copy(dw);
      kernels::embedding_grad(ids, dy, &dw);
      kernels::embedding_grad(Copy(ids), Copy(dy), &on_gpu);
      EXPECT_THAT(on_gpu, HasBitsOf(dw)) << n << " by " << columns;
    }
  }
}

// Longer than a tile of keys, so that some are masked as a whole.
TEST_F(CudaKernelTest, AttendsWithinLongDocuments) {
  constexpr int64_t kLength = 400;
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < kLength; ++t) {
    ids.push_back(static_cast<int32_t>(t / 150));
  }
  const Tensor documents = FromVector(ids, {1, kLength});
  const std::vector<Tensor> x = {
      RandomNormal({1, kLength, 4, 8}, 1, DType::kF32)};
  for (const int64_t window : {0, 140}) {
    const auto attend = [&](const std::vector<Variable>& in) {
      return SelfAttention(in[0], 2, 1,
                           {.keys = 0,
                            .window = window,
                            .documents = ToDevice(documents, in[0].device())});
    };
    const Differentiated wanted = ForwardBackward(attend, x);
    const Differentiated got =
        ForwardBackward(attend, OnCuda({Cast(x[0], DType::kBF16)}));
    EXPECT_THAT(got.value, IsNear(wanted.value, 1e-2)) << window;
    EXPECT_THAT(got.gradients[0], IsNear(wanted.gradients[0], 1e-2)) << window;
  }
}

TEST_F(CudaKernelTest, AccumulatesDoubles) {
  const Tensor x = RandomNormal({1001}, 1);
  Tensor y = RandomNormal({1001}, 2);
  kernels::scale(Clone(y), 1e-9 / 3, &y);
  Tensor on_gpu = Copy(y);
  kernels::accumulate(x, &y);
  kernels::accumulate(Copy(x), &on_gpu);
  EXPECT_THAT(on_gpu, HasBitsOf(y));
}

TEST_F(CudaKernelTest, Accumulates) {
  const Tensor x = RandomNormal({5, 77}, 1, DType::kF32);
  for (const DType from : {DType::kF32, DType::kBF16}) {
    for (const DType to : {DType::kF32, DType::kBF16}) {
      Tensor y = RandomNormal({5, 77}, 2, to);
      Tensor on_gpu = Copy(y);
      kernels::accumulate(Cast(x, from), &y);
      kernels::accumulate(Cast(Copy(x), from), &on_gpu);
      EXPECT_THAT(on_gpu, HasBitsOf(y));
    }
    const Tensor factor = FromVector(std::vector<float>{1.5f}, {1});
    Tensor y = RandomNormal({5, 77}, 2, DType::kF32);
    Tensor on_gpu = Copy(y);
    kernels::accumulate_scaled(factor, Cast(x, from), &y);
    kernels::accumulate_scaled(Copy(factor), Cast(Copy(x), from), &on_gpu);
    EXPECT_THAT(on_gpu, IsNear(y, 1e-7));
  }
}

TEST_F(CudaKernelTest, AccumulatesManyTensors) {
  std::vector<Tensor> x, y, x_on_gpu, y_on_gpu;
  for (int64_t i = 0; i < 300; ++i) {  // More than a launch takes.
    x.push_back(RandomNormal({i * i % 777}, 2 * i, DType::kF32));
    y.push_back(RandomNormal({i * i % 777}, 2 * i + 1, DType::kF32));
    x_on_gpu.push_back(Copy(x.back()));
    y_on_gpu.push_back(Copy(y.back()));
  }
  kernels::accumulate_each(x, y);
  kernels::accumulate_each(x_on_gpu, y_on_gpu);
  for (size_t i = 0; i < y.size(); ++i) {
    EXPECT_THAT(y_on_gpu[i], HasBitsOf(y[i])) << i;
  }
}

TEST_F(CudaKernelTest, DrawsTheNumbersOfTheCpu) {
  for (const int64_t n : {1, 2, 3, 4, 1001}) {
    Tensor x = Empty({n}, DType::kF32), on_gpu = Copy(x);
    const RandomKey key{.seed = 3, .step = 5, .site = 7};
    kernels::normal(&x, key, 0.02);
    kernels::normal(&on_gpu, key, 0.02);
    EXPECT_THAT(on_gpu, IsNear(x, 1e-7));
  }
}

TEST_F(CudaKernelTest, DrawsTheTokensOfTheCpu) {
  constexpr int64_t kRows = 20;
  for (const int64_t size : {1, 33, 1025, 3000}) {
    const Tensor logits = RandomNormal({kRows, size}, 1, DType::kF32);
    float* const first = logits.data<float>();
    for (int64_t i = 0; i < size; i += 2) first[i] = 0.5f;  // Many tie.
    first[size / 2] = std::nanf("");
    for (const double temperature : {0.0, 0.7, 5.0}) {
      for (const int64_t top_k : {0, 1, 7, 700}) {
        for (const double top_p : {0.0, 0.4, 1.0}) {
          const kernels::SampleParams params{
              .temperature = temperature,
              .top_k = top_k,
              .top_p = top_p,
              .limit = size > 2 ? size - 2 : 0,
              .key = {.seed = 3, .step = static_cast<uint64_t>(size)}};
          Tensor ids = Empty({kRows}, DType::kI32), on_gpu = Copy(ids);
          kernels::sample(logits, params, &ids);
          kernels::sample(Copy(logits), params, &on_gpu);
          EXPECT_EQ(ToVector<int32_t>(on_gpu), ToVector<int32_t>(ids))
              << size << " " << temperature << " " << top_k << " " << top_p;
        }
      }
    }
  }
}

// As in training: bf16 products into sums in f32, which a bias's gradient
// replaces.
TEST_F(CudaKernelTest, LinearGradAddsToWeightsAndAssignsBiases) {
  for (const int64_t columns : {40, 41}) {
    const Tensor dy = RandomNormal({264, columns}, 1, DType::kBF16);
    const Tensor x = RandomNormal({264, 24}, 2, DType::kBF16);
    Tensor dw = RandomNormal({columns, 24}, 3, DType::kF32);
    Tensor db = Empty({columns}, DType::kF32);
    kernels::fill(&db, std::nan(""));
    Tensor dw_on_gpu = Copy(dw), db_on_gpu = Copy(db);
    kernels::linear_grad(dy, x, true, &dw, &db);
    kernels::linear_grad(Copy(dy), Copy(x), true, &dw_on_gpu, &db_on_gpu);
    EXPECT_THAT(dw_on_gpu, IsNear(dw, 1e-5));
    EXPECT_THAT(db_on_gpu, IsNear(db, 1e-5));
    EXPECT_THAT(db,
                IsNear(Sum(Variable(Cast(dy, DType::kF32)), 0).value(), 1e-5));
  }
}

TEST_F(CudaKernelTest, SumsSquares) {
  for (const int64_t n : {0, 1, 16384, 16385, 1'000'003}) {
    const Tensor x = RandomNormal({n}, 1, DType::kF32);
    const int64_t chunks =
        (n + kernels::kSquaresChunk - 1) / kernels::kSquaresChunk;
    Tensor sums = Empty({chunks}, DType::kF64);
    Tensor on_gpu = Empty({chunks}, DType::kF64, Device::Cuda());
    kernels::sum_squares(x, &sums);
    kernels::sum_squares(Copy(x), &on_gpu);
    EXPECT_THAT(on_gpu, IsNear(sums, 1e-12)) << n;
  }
}

TEST_F(CudaKernelTest, StepsLikeTheCpu) {
  constexpr int64_t kCount = 1003;
  const auto normal = [](uint64_t seed) {
    return RandomNormal({kCount}, seed, DType::kF32);
  };
  const kernels::AdamWParams params{.learning_rate = 1e-2,
                                    .beta1 = 0.9,
                                    .beta2 = 0.99,
                                    .epsilon = 1e-8,
                                    .weight_decay = 0.1,
                                    .grad_scale = 0.5,
                                    .step = 3};
  for (const bool narrow : {false, true}) {
    for (const bool adamw : {false, true}) {
      std::vector<Tensor> cpu = {normal(1), normal(2), normal(3),
                                 RandomPositive({kCount}, 4, DType::kF32)};
      std::vector<Tensor> gpu = OnCuda(cpu);
      for (auto* tensors : {&cpu, &gpu}) {
        std::vector<Tensor>& t = *tensors;
        t.push_back(narrow ? Empty({kCount}, DType::kBF16, t[0].device())
                           : Tensor());
        if (adamw) {
          kernels::adamw(&t[0], &t[1], &t[2], &t[3], &t[4], params);
        } else {
          kernels::sgd(&t[0], &t[1], &t[2], &t[4], 0.1, 0.9, 0.01, 0.5);
        }
      }
      for (size_t i = 0; i < 4; ++i) EXPECT_THAT(gpu[i], IsNear(cpu[i], 1e-6));
      if (narrow) {
        EXPECT_THAT(gpu[4], HasBitsOf(Cast(gpu[0], DType::kBF16)));
      }
    }
  }
}

TEST_F(CudaKernelTest, RoundsStochasticallyAsTheCpu) {
  kernels::AdamWParams params{.learning_rate = 0,
                              .beta1 = 0.9,
                              .beta2 = 0.99,
                              .epsilon = 1e-8,
                              .weight_decay = 0,
                              .grad_scale = 1,
                              .step = 1};
  // From memory, and from numbers of the stream, that begin anywhere.
  for (const int64_t shift : {0, 1}) {
    for (const int64_t first : {8, 9}) {
      constexpr int64_t kCount = 1003;
      const Tensor all = RandomPositive({shift + kCount}, 1, DType::kF32);
      const Tensor x = all.View(shift, {kCount});
      params.rounding = {
          .stochastic = true, .key = {.seed = 7}, .first = first};
      Tensor wanted = Empty({kCount}, DType::kBF16);
      kernels::round_to_bf16(x, params.rounding, &wanted);
      Tensor param = Copy(all).View(shift, {kCount});
      Tensor got = Empty({kCount}, DType::kBF16, param.device());
      kernels::round_to_bf16(param, params.rounding, &got);
      EXPECT_THAT(got, HasBitsOf(wanted));
      std::vector<Tensor> state(3);
      for (Tensor& t : state) {
        t = Zeros({kCount}, DType::kF32, param.device());
      }
      kernels::adamw(&param, &state[0], &state[1], &state[2], &got, params);
      EXPECT_THAT(param, HasBitsOf(x));
      EXPECT_THAT(got, HasBitsOf(wanted));
    }
  }
}

// When kernels ran, not when they were launched: with the same calls, work and
// nesting.
TEST_F(CudaKernelTest, TracesTellTheTimesOfTheDevice) {
  const Tensor x = Copy(RandomNormal({64, 48}, 1, DType::kF32));
  const Tensor weight = Copy(RandomNormal({48}, 2, DType::kF32));
  for (int session = 1; session <= 2; ++session) {
    trace::Start();
    for (int i = 0; i < session; ++i) {
      Tensor y = EmptyLike(x);
      kernels::add(x, x, &y);
      Cast(y, DType::kBF16);
      Tensor sum = Empty({48}, DType::kF32, Device::Cuda());
      kernels::sum_to(x.Rows(0, 0), &sum);  // Calls fill.
      const Variable leaf(x, true), scale(weight, true);
      Backward(RmsNorm(leaf, scale, 1e-5));
    }
    trace::Stop();
    std::map<std::string, trace::SpanSum> host, device;
    for (const trace::SpanSum& sum : trace::Summarize()) {
      if (sum.category == "kernel") host[sum.name] = sum;
      if (sum.category == "device") device[sum.name] = sum;
    }
    ASSERT_EQ(device.size(), host.size());
    EXPECT_EQ(device["add"].calls, session);
    for (const auto& [name, sum] : device) {
      SCOPED_TRACE(name);
      EXPECT_EQ(sum.calls, host[name].calls);
      EXPECT_EQ(sum.work.bytes, host[name].work.bytes);
      EXPECT_GT(sum.seconds, 0);
      EXPECT_GE(sum.self_seconds, 0);
      EXPECT_GE(sum.seconds, sum.self_seconds);
    }
  }
  for (const trace::ThreadTrace& row : trace::Collect()) {
    if (row.id == getpid()) continue;
    EXPECT_EQ(row.name, "cuda:0 stream 1");
    int64_t end = 0;
    for (const trace::SpanRecord& span : row.spans) {
      EXPECT_GE(span.start, end) << span.name;
      if (span.self == span.duration) end = span.start + span.duration;
    }
  }
}

// A copy of x on the GPU that begins `shift` elements after what is aligned.
Tensor Shifted(const Tensor& x, int64_t shift) {
  const Tensor memory = Empty({x.numel() + shift}, x.dtype(), Device::Cuda());
  Tensor view = memory.View(shift, x.shape());
  kernels::copy(ToDevice(x, Device::Cuda()), &view);
  return view;
}

// What kernels that move several elements at once make of inputs, and write to
// outputs, that begin `shift` elements after what is aligned.
std::vector<Tensor> ResultsShiftedBy(int64_t shift, int64_t columns,
                                     DType dtype) {
  constexpr int64_t kRows = 70;
  const Shape shape({kRows, columns});
  const auto in = [&](const Shape& shape, uint64_t seed, DType dtype) {
    return Shifted(RandomNormal(shape, seed, dtype), shift);
  };
  std::vector<Tensor> results;
  const auto out = [&](const Shape& shape, DType dtype) -> Tensor* {
    results.push_back(Shifted(Zeros(shape, dtype), shift));
    return &results.back();
  };
  results.reserve(100);  // Pointers to them stay.
  const Tensor x = in(shape, 1, dtype), dy = in(shape, 2, dtype);
  const Tensor wide = in(shape, 3, DType::kF32);
  const Tensor weight = in({columns}, 4, DType::kF32);
  const Tensor ids = ToDevice(RandomIds({kRows}, columns, 5), Device::Cuda());
  kernels::add(x, dy, out(shape, dtype));
  kernels::gelu_grad(x, dy, out(shape, dtype));
  kernels::copy(wide, out(shape, DType::kBF16));
  kernels::accumulate(x, out(shape, DType::kF32));
  kernels::dropout(x, 0.3, {.seed = 1}, out(shape, dtype));
  kernels::swiglu(x, out({kRows, columns / 2}, dtype));
  kernels::swiglu_grad(x, in({kRows, columns / 2}, 6, dtype),
                       out(shape, dtype));
  kernels::sum_to(x, out({columns}, DType::kF32));
  kernels::sum_to(x, out({kRows, 1}, DType::kF32));
  kernels::sum_squares(x, out({1}, DType::kF64));
  kernels::copy_range(x, 1, 1, out(shape, dtype), 0, columns - 1);
  kernels::copy_range(x, 0, 1, out(shape, dtype), 0, kRows - 1);
  kernels::embedding(x, ToDevice(RandomIds({9}, kRows, 7), Device::Cuda()),
                     out({9, columns}, DType::kF32));
  kernels::rope(x.Reshape({1, kRows, 1, columns}), 1, 10000, 0, false,
                out({1, kRows, 1, columns}, dtype));
  Tensor* const mean = out({kRows}, DType::kF32);
  Tensor* const rstd = out({kRows}, DType::kF32);
  kernels::layer_norm(wide, weight, weight, 1e-5, out(shape, dtype), mean,
                      rstd);
  for (const bool add : {false, true}) {
    Tensor* const dx = out(shape, DType::kF32);
    kernels::layer_norm_grad(wide, weight, *mean, *rstd, dy, add, dx,
                             out(shape, DType::kBF16),
                             out({2, columns}, DType::kF32));
  }
  kernels::rms_norm(x, weight, 1e-5, out(shape, dtype), rstd);
  for (const bool add : {false, true}) {
    Tensor none;
    kernels::rms_norm_grad(x, weight, *rstd, dy, add, out(shape, dtype), &none,
                           out({1, columns}, DType::kF32));
  }
  Tensor* const lse = out({kRows}, DType::kF32);
  kernels::cross_entropy(x, ids, out({kRows}, DType::kF32), lse);
  kernels::cross_entropy_grad(x, ids, *lse, *lse, out(shape, dtype));
  results.push_back(Shifted(wide, shift));
  Tensor* const logits = &results.back();
  kernels::cross_entropy_with_grad(logits, ids, out({kRows}, DType::kF32),
                                   out(shape, dtype));
  Tensor* const param = out(shape, DType::kF32);
  results.push_back(Shifted(wide, shift));
  kernels::adamw(param, &results.back(), out(shape, DType::kF32),
                 out(shape, DType::kF32), out(shape, DType::kBF16),
                 {.learning_rate = 0.1,
                  .beta1 = 0.9,
                  .beta2 = 0.99,
                  .epsilon = 1e-8,
                  .weight_decay = 0.1,
                  .grad_scale = 1,
                  .step = 1});
  for (Tensor& result : results) result = ToDevice(result, Device::Cpu());
  return results;
}

TEST_F(CudaKernelTest, AlignmentDoesNotChangeTheBits) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const int64_t columns : {32, 34, 264, 1032, 4800, 4802}) {
      SCOPED_TRACE(::testing::Message() << dtype << " " << columns);
      const auto aligned = ResultsShiftedBy(0, columns, dtype);
      const auto shifted = ResultsShiftedBy(1, columns, dtype);
      ASSERT_EQ(shifted.size(), aligned.size());
      for (size_t i = 0; i < aligned.size(); ++i) {
        EXPECT_THAT(shifted[i], HasBitsOf(aligned[i])) << "result " << i;
      }
    }
  }
}

TEST_F(CudaKernelTest, MemoryIsCounted) {
  Allocator& allocator = AllocatorFor(Device::Cuda());
  const int64_t before = allocator.stats().live_bytes;
  {
    const Tensor x = Empty({1000}, DType::kF32, Device::Cuda());
    EXPECT_EQ(allocator.stats().live_bytes, before + 4000);
  }
  EXPECT_EQ(allocator.stats().live_bytes, before);
}

TEST_F(CudaKernelTest, WhatIsInUseCountsAsWhatCanBeHad) {
  const Allocator& allocator = AllocatorFor(Device::Cuda());
  const int64_t capacity = allocator.Capacity();
  EXPECT_GT(capacity, 0);
  const Tensor x = Empty({100'000'000}, DType::kF32, Device::Cuda());
  EXPECT_NEAR(allocator.Capacity(), capacity, 1e8);
}

TEST_F(CudaKernelTest, WhoRunsOutOfMemoryIsToldWhoHasIt) {
  // A forked child cannot use the GPU that its parent has used.
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const MemoryLabel label("weights");
  const Tensor weights = Empty({1'000'000}, DType::kF32, Device::Cuda());
  EXPECT_DEATH(
      {
        const MemoryLabel inner("gradients");
        Empty({int64_t{1} << 40}, DType::kF32, Device::Cuda());
      },
      "out of memory on cuda:0.*more wanted for gradients. In use:.*weights "
      "[0-9.]+ MB;.*batch.micro_batch");
}

TEST_F(CudaKernelTest, DevicesAreDescribed) {
  EXPECT_THAT(DescribeDevice(DeviceType::kCuda, 0),
              ::testing::ContainsRegex(
                  ".+, compute capability [0-9]+\\.[0-9]+, driver for CUDA "
                  "[0-9]+\\.[0-9]+, runtime [0-9]+\\.[0-9]+"));
}

// Larger than one staging buffer, and more of them than there are.
TEST_F(CudaKernelTest, CopiesThereAndBack) {
  for (const int64_t n : {1, 262'144, 262'145, 3'000'001}) {
    const Tensor x = RandomNormal({n}, 1, DType::kF32);
    EXPECT_THAT(ToDevice(Copy(x), Device::Cpu()), HasBitsOf(x));
  }
}

}  // namespace
}  // namespace nextword

// Mixed precision against f32, which parity_test holds against PyTorch.
#include <cmath>
#include <string>
#include <vector>

#include "autograd/base/trace.h"
#include "autograd/base/trace_report.h"
#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/norm.h"
#include "gtest/gtest.h"
#include "optim/optimizer.h"
#include "tests/testing.h"
#include "tests/testing_models.h"

namespace nextword {
namespace {

constexpr int64_t kBatch = 2, kLength = 96;

// Real widths: among the handful of numbers of a tiny model, rounding the
// weights to bf16 alone, and computing in f64, moves gradients by several 1e-2.
ModelConfig Gpt2OfRealWidth() {
  ModelConfig model = Gpt2Like();
  model.set_layers(4);
  model.set_hidden_size(256);
  model.set_num_heads(4);
  model.set_kv_heads(4);
  model.set_head_dim(64);
  model.set_mlp_size(1024);
  model.set_vocab_size(2048);
  model.set_init_std(0.02);
  return model;
}

ModelConfig LlamaOfRealWidth() {
  ModelConfig model = LlamaLike();
  model.set_layers(4);
  model.set_hidden_size(256);
  model.set_num_heads(4);
  model.set_kv_heads(2);
  model.set_head_dim(64);
  model.set_mlp_size(704);
  model.set_vocab_size(2048);
  model.set_init_std(0.02);
  return model;
}

// |a - b| / |b|, over all elements.
double RelativeError(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = ToDoubles(a), y = ToDoubles(b);
  double difference = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += (x[i] - y[i]) * (x[i] - y[i]);
    norm += y[i] * y[i];
  }
  return std::sqrt(difference / norm);
}

struct Result {
  Tensor logits, gradients, weights;  // Weights after three steps.
  double loss;
};

Result Train(const ModelConfig& config, DType dtype, double dropout = 0) {
  TestModel model(config);
  model.parameters.ComputeIn(dtype);
  const Tensor ids = RandomTokens(config, kBatch, kLength, 1);
  const Tensor targets = RandomTokens(config, kBatch, kLength, 2);
  layers::ForwardContext context;
  context.dropout = dropout;
  context.random = {.seed = 3};
  Result result;
  result.logits = LogitsOf(model, ids);
  const auto optimizer = MakeOptimizer(OptimizerConfig(), &model.parameters);
  for (int step = 0; step < 3; ++step) {
    const Variable loss = model.transformer.SumLoss(ids, targets, context);
    Backward(loss);
    if (step == 0) {
      result.loss = ToDoubles(loss.value()).front();
      result.gradients = Clone(model.parameters.gradients());
    }
    optimizer->Step(step, 1e-3, 1.0 / (kBatch * kLength));
  }
  result.weights = Clone(model.parameters.values());
  return result;
}

void ExpectParity(ModelConfig config, double dropout = 0,
                  bool residual_in_bf16 = false) {
  const Result wanted = Train(config, DType::kF32, dropout);
  config.set_residual_in_bf16(residual_in_bf16);
  const Result got = Train(config, DType::kBF16, dropout);
  EXPECT_EQ(got.logits.dtype(), DType::kF32);
  EXPECT_LT(RelativeError(got.logits, wanted.logits), 1e-2);
  EXPECT_LT(std::abs(got.loss - wanted.loss), 1e-3 * wanted.loss);
  EXPECT_LT(RelativeError(got.gradients, wanted.gradients), 1e-2);
  EXPECT_LT(RelativeError(got.weights, wanted.weights), 1e-2);
  // It is another arithmetic, not f32 under another name.
  EXPECT_GT(RelativeError(got.gradients, wanted.gradients), 1e-4);
}

TEST(MixedPrecisionTest, Gpt2) { ExpectParity(Gpt2OfRealWidth()); }
TEST(MixedPrecisionTest, Llama) { ExpectParity(LlamaOfRealWidth()); }
TEST(MixedPrecisionTest, WithDropout) { ExpectParity(Gpt2OfRealWidth(), 0.1); }

TEST(MixedPrecisionTest, OfTheResidualStream) {
  ExpectParity(Gpt2OfRealWidth(), 0, true);
  ExpectParity(LlamaOfRealWidth(), 0, true);
}

TEST(MixedPrecisionTest, WithRecomputation) {
  ModelConfig model = LlamaOfRealWidth();
  const Result kept = Train(model, DType::kBF16);
  model.set_recompute(ModelConfig::BLOCK);
  EXPECT_THAT(Train(model, DType::kBF16).gradients, HasBitsOf(kept.gradients));
}

// Masters and vectors are f32, matrices bf16 copies that follow the updates.
// Norms give the gradients of an f32 stream to the products of the layer before
// them in bf16, too: the bits of a conversion.
TEST(MixedPrecisionTest, NormsRoundTheGradientsOfTheStream) {
  const auto leaf = [](const Shape& shape, uint64_t seed, DType dtype) {
    return Variable(RandomNormal(shape, seed, dtype), true);
  };
  std::vector<Tensor> gradients[2];
  int64_t conversions[2];
  for (const bool hooked : {false, true}) {
    const Variable x = leaf({2, 5, 16}, 1, DType::kF32);
    const Variable up = leaf({32, 16}, 2, DType::kBF16);
    const Variable down = leaf({16, 32}, 3, DType::kBF16);
    const Variable out = leaf({16, 16}, 4, DType::kBF16);
    const Variable norm = leaf({16}, 5, DType::kF32);
    const Variable bias = leaf({16}, 6, DType::kF32);
    std::vector<Variable> stream = {x};
    for (int i = 0; i < 3; ++i) {
      const Variable in =
          LayerNorm(stream.back(), norm, bias, 1e-5, DType::kBF16);
      stream.push_back(Linear(in, out, {}, stream.back()));
      const Variable mlp_in = RmsNorm(stream.back(), norm, 1e-5, DType::kBF16);
      stream.push_back(
          GeluTanhFeedForward(mlp_in, up, {}, down, {}, stream.back()));
    }
    for (const Variable& y : stream) {
      if (hooked) y.AddGradientHook([](const Tensor& dy) { return dy; });
    }
    trace::Start();
    Backward(stream.back());
    trace::Stop();
    conversions[hooked] = 0;
    for (const trace::SpanSum& sum : trace::Summarize()) {
      if (sum.name == "copy") conversions[hooked] += sum.calls;
    }
    for (const Variable& v : {x, up, down, out, norm, bias}) {
      gradients[hooked].push_back(v.gradient());
    }
  }
  for (size_t i = 0; i < gradients[0].size(); ++i) {
    EXPECT_THAT(gradients[0][i], HasBitsOf(gradients[1][i])) << i;
  }
  // All but that of the stream's end.
  EXPECT_EQ(conversions[1] - conversions[0], 5);
}

TEST(MixedPrecisionTest, CopiesFollowTheMasters) {
  TestModel model(Gpt2Like());
  model.parameters.ComputeIn(DType::kBF16);
  const Tensor ids = RandomTokens(Gpt2Like(), 2, 8, 1);
  Backward(model.transformer.SumLoss(ids, ids));
  MakeOptimizer(OptimizerConfig(), &model.parameters)->Step(0, 1e-2, 1e-2);
  for (const Parameters::Entry& entry : model.parameters.entries()) {
    SCOPED_TRACE(entry.name);
    const Tensor& value = entry.variable.value();
    EXPECT_EQ(value.dtype(), entry.is_matrix() ? DType::kBF16 : DType::kF32);
    EXPECT_EQ(entry.variable.gradient().dtype(), DType::kF32);
    EXPECT_THAT(
        value, HasBitsOf(Cast(model.parameters.ValueOf(entry), value.dtype())));
  }
  model.parameters.ComputeIn(DType::kF32);
  EXPECT_FALSE(model.parameters.copies().defined());
}

// To the bits that a run has which begins after that step.
TEST(MixedPrecisionTest, CopiesAreRoundedAtRandomByTheStep) {
  for (const OptimizerKind kind : {ADAMW, SGD, MUON}) {
    SCOPED_TRACE(OptimizerKind_Name(kind));
    TestModel model(Gpt2Like());
    model.parameters.RoundStochastically(/*seed=*/3);
    model.parameters.ComputeIn(DType::kBF16);
    const Tensor ids = RandomTokens(Gpt2Like(), 2, 8, 1);
    Backward(model.transformer.SumLoss(ids, ids));
    OptimizerConfig config;
    config.set_kind(kind);
    MakeOptimizer(config, &model.parameters)->Step(4, 1e-2, 1e-2);
    const FlatRange matrices{model.parameters.vectors().end,
                             model.parameters.numel()};
    const Tensor got = Clone(matrices.Of(model.parameters.copies()));
    model.parameters.ComputeIn(DType::kBF16, std::nullopt, /*step=*/5);
    EXPECT_THAT(got, HasBitsOf(matrices.Of(model.parameters.copies())));
    EXPECT_THAT(got, Not(HasBitsOf(Cast(matrices.Of(model.parameters.values()),
                                        DType::kBF16))));
    model.parameters.ComputeIn(DType::kBF16, std::nullopt, /*step=*/6);
    EXPECT_THAT(got, Not(HasBitsOf(matrices.Of(model.parameters.copies()))));
  }
}

}  // namespace
}  // namespace nextword

#include "tests/testing_models.h"

#include <initializer_list>
#include <random>

#include "autograd/base/status.h"
#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/reduction.h"
#include "configs/model_config.h"
#include "tests/testing.h"

namespace nextword {
namespace {

ModelConfig Resolved(const ModelConfig& config) {
  const absl::StatusOr<ModelConfig> resolved = ResolveModel(config, 0);
  NW_CHECK_OK(resolved.status());
  return *resolved;
}

ModelConfig Small() {
  ModelConfig config;
  config.set_layers(2);
  config.set_hidden_size(24);
  config.set_num_heads(4);
  config.set_context_length(kTestContext);
  config.set_vocab_size(67);
  config.set_init_std(0.3);
  return config;
}

}  // namespace

ModelConfig Gpt2Like() { return Resolved(Small()); }

ModelConfig LlamaLike() {
  ModelConfig config = Small();
  config.set_kv_heads(2);
  config.set_position(ROPE);
  config.set_norm(RMS_NORM);
  config.set_activation(SWIGLU);
  config.set_mlp_size(40);
  config.set_bias(false);
  config.set_tied_embeddings(false);
  return Resolved(config);
}

ModelConfig RandomModel(uint64_t seed) {
  std::mt19937_64 engine(seed);
  const auto one_of = [&](std::initializer_list<int> choices) {
    return *(choices.begin() + engine() % choices.size());
  };
  ModelConfig config = Small();
  config.set_layers(one_of({1, 2, 3}));
  const int kv_heads = one_of({1, 2, 3});
  const int heads = kv_heads * one_of({1, 2, 4});
  config.set_kv_heads(one_of({0, kv_heads}));
  config.set_num_heads(heads);
  config.set_hidden_size(heads * one_of({2, 4, 6}));
  config.set_head_dim(one_of({0, 4, 10}));
  config.set_mlp_size(one_of({0, 17, 40}));
  config.set_vocab_size(one_of({50, 67, 128}));
  config.set_position(static_cast<Position>(one_of({LEARNED, ROPE})));
  config.set_norm(static_cast<Norm>(one_of({LAYER_NORM, RMS_NORM})));
  config.set_activation(
      static_cast<Activation>(one_of({GELU_TANH, GELU, SILU, SWIGLU})));
  config.set_bias(one_of({0, 1}) != 0);
  config.set_tied_embeddings(one_of({0, 1}) != 0);
  config.set_sliding_window(one_of({0, 3, 70}));
  return Resolved(config);
}

TestModel::TestModel(const ModelConfig& config, uint64_t seed, DType dtype)
    : transformer(config),
      parameters(transformer.NamedParameters(), dtype,
                 dtype == DType::kF64 ? Device::Cpu() : TestDevice()) {
  transformer.Initialize(seed);
}

Tensor RandomTokens(const ModelConfig& config, int64_t batch, int64_t length,
                    uint64_t seed) {
  return ToDevice(RandomIds({batch, length}, config.vocab_size(), seed),
                  TestDevice());
}

Tensor LogitsOf(const TestModel& model, const Tensor& ids,
                const layers::ForwardContext& context) {
  const NoGradScope no_grad;
  return model.transformer.Forward(ids, context).value();
}

LossAndGradients TrainOn(const ModelConfig& config,
                         const layers::ForwardContext& context, int64_t batch,
                         int64_t length, uint64_t seed) {
  const TestModel model(config, seed);
  const Tensor ids = RandomTokens(config, batch, length, seed);
  const Tensor targets = RandomTokens(config, batch, length, seed + 1);
  const Variable loss =
      Sum(CrossEntropy(model.transformer.Forward(ids, context), targets));
  Backward(loss);
  return {Clone(loss.value()), Clone(model.parameters.gradients())};
}

}  // namespace nextword

// Small models for tests: configs at random, and a model with its memory.
#ifndef NEXTWORD_TESTS_TESTING_MODELS_H_
#define NEXTWORD_TESTS_TESTING_MODELS_H_

#include <cstdint>

#include "autograd/parameters.h"
#include "autograd/tensor/tensor.h"
#include "configs/train_config.pb.h"
#include "layers/forward_context.h"
#include "layers/transformer.h"

namespace nextword {

// Longest sequence of the configs here: more than two of the strips of 64
// queries that fused attention works in.
inline constexpr int kTestContext = 160;

// Resolved configs: a GPT-2, a Llama with grouped heads, and a mixture of every
// choice that a model has, a function of `seed`. Initial weights are large
// (init_std 0.3): with GPT-2's a small model hardly looks at its context.
ModelConfig Gpt2Like();
ModelConfig LlamaLike();
ModelConfig RandomModel(uint64_t seed);

// A transformer with its parameters in place, on TestDevice; f64 models are on
// the CPU.
struct TestModel {
  explicit TestModel(const ModelConfig& config, uint64_t seed = 1,
                     DType dtype = DType::kF32);

  layers::Transformer transformer;
  Parameters parameters;
};

// Random ids of the model's vocabulary, i32 [batch, length], on TestDevice.
Tensor RandomTokens(const ModelConfig& config, int64_t batch, int64_t length,
                    uint64_t seed);

// Logits without a graph.
Tensor LogitsOf(const TestModel& model, const Tensor& ids,
                const layers::ForwardContext& context = {});

// The sum of the losses on random ids and targets, f32 [], and the gradients of
// all parameters by it, flat.
struct LossAndGradients {
  Tensor loss, gradients;
};
LossAndGradients TrainOn(const ModelConfig& config,
                         const layers::ForwardContext& context, int64_t batch,
                         int64_t length, uint64_t seed);

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_MODELS_H_

// Parity with PyTorch: logits, loss, gradients and five AdamW steps against the
// values that tests/reference/make_reference.py computed in float64.
#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"
#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "distributed/safetensors.h"
#include "gtest/gtest.h"
#include "optim/optimizer.h"
#include "tests/testing.h"
#include "tests/testing_models.h"

namespace nextword {
namespace {

constexpr int kSteps = 5;

// The shapes of make_reference.py, resolved.
ModelConfig ModelOf(const std::string& name) {
  ModelConfig model;
  model.set_layers(2);
  model.set_hidden_size(16);
  model.set_context_length(12);
  if (name == "tiny_gpt2") {
    model.set_vocab_size(31);
    model.set_num_heads(2);
    model.set_kv_heads(2);
    model.set_head_dim(8);
    model.set_mlp_size(64);
    return model;
  }
  model.set_vocab_size(29);
  model.set_num_heads(4);
  model.set_kv_heads(2);
  model.set_head_dim(4);
  model.set_mlp_size(24);
  model.set_position(ROPE);
  model.set_norm(RMS_NORM);
  model.set_activation(SWIGLU);
  model.set_bias(false);
  model.set_tied_embeddings(false);
  if (name == "tiny_llama_window") model.set_sliding_window(4);
  return model;
}

OptimizerConfig AdamWOfReference() {
  OptimizerConfig config;
  config.set_learning_rate(1e-3);
  config.set_beta1(0.9);
  config.set_beta2(0.95);
  // Not smaller: see make_adamw in make_reference.py.
  config.set_epsilon(1e-5);
  config.set_weight_decay(0.1);
  return config;
}

// |actual - expected| / |expected|, by the L2 norm.
double RelativeError(const Tensor& actual, const Tensor& expected) {
  const std::vector<double> a = ToDoubles(actual), b = ToDoubles(expected);
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

double LargestDifference(const Tensor& actual, const Tensor& expected) {
  const std::vector<double> a = ToDoubles(actual), b = ToDoubles(expected);
  double largest = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    largest = std::max(largest, std::abs(a[i] - b[i]));
  }
  return largest;
}

class ParityTest
    : public testing::TestWithParam<std::tuple<std::string, DType>> {
 protected:
  ParityTest()
      : file_(*SafetensorsFile::Open(
            absl::StrCat("tests/reference/", name(), ".safetensors"))),
        model_(ModelOf(name()), 1, dtype()),
        tokens_(OnModelsDevice(Read("tokens"))),
        targets_(OnModelsDevice(Read("targets"))) {
    // Every initial value of the reference has its place, and only those.
    size_t initial_values = 0;
    for (const auto& [entry, unused] : file_.entries()) {
      initial_values += absl::StartsWith(entry, "init.") ? 1 : 0;
    }
    EXPECT_EQ(initial_values, model_.parameters.entries().size());
    for (const Parameters::Entry& entry : model_.parameters.entries()) {
      Tensor value = entry.variable.value();
      kernels::copy(OnModelsDevice(Cast(Read("init." + entry.name), dtype())),
                    &value);
    }
  }

  static std::string name() { return std::get<0>(GetParam()); }
  static DType dtype() { return std::get<1>(GetParam()); }
  static double tolerance() { return dtype() == DType::kF64 ? 1e-10 : 1e-5; }

  Tensor Read(const std::string& tensor) const {
    const auto& entry = file_.entries().at(tensor);
    Tensor values = Empty(entry.shape, *entry.dtype);
    NW_CHECK_OK(file_.Read(tensor, &values));
    return values;
  }

  Tensor OnModelsDevice(const Tensor& x) const {
    return ToDevice(x, model_.transformer.device());
  }

  int64_t CountTargets() const {
    int64_t count = 0;
    for (int32_t target : ToVector<int32_t>(targets_)) count += target >= 0;
    return count;
  }

  // The sum of the losses; its gradients are in place.
  double ForwardBackward(Tensor* logits) {
    model_.parameters.ZeroGradients();
    *logits = LogitsOf(model_, tokens_);
    const Variable loss = model_.transformer.SumLoss(tokens_, targets_);
    Backward(loss);
    return ToDoubles(loss.value()).front();
  }

  // The keys' part of a bias of queries, keys and values. It moves all scores
  // of a query alike, which softmax ignores: its true gradient is zero. What
  // arrives is rounding noise, and AdamW divides it by epsilon: a step moves
  // it by learning_rate * noise / epsilon = 100 noise. So after AdamW it is
  // compared by an absolute measure, one tolerance a step.
  Tensor KeysOf(const Tensor& qkv_bias) const {
    const ModelConfig& model = model_.transformer.config();
    const int64_t size = model.head_dim();
    return qkv_bias.View(model.num_heads() * size, {model.kv_heads() * size});
  }

  const SafetensorsFile file_;
  TestModel model_;
  const Tensor tokens_, targets_;
};

TEST_P(ParityTest, LogitsLossAndGradients) {
  Tensor logits;
  const double mean = 1.0 / static_cast<double>(CountTargets());
  const double loss = ForwardBackward(&logits) * mean;
  EXPECT_LT(RelativeError(logits, Read("logits")), tolerance());
  const double wanted = ToDoubles(Read("loss")).front();
  EXPECT_LT(std::abs(loss - wanted), tolerance() * wanted);
  for (const Parameters::Entry& entry : model_.parameters.entries()) {
    Tensor gradient = EmptyLike(entry.variable.gradient());
    kernels::scale(entry.variable.gradient(), mean, &gradient);
    EXPECT_LT(RelativeError(gradient, Read("grad." + entry.name)), tolerance())
        << entry.name;
  }
}

TEST_P(ParityTest, FiveAdamWSteps) {
  const OptimizerConfig config = AdamWOfReference();
  const auto optimizer = MakeOptimizer(config, &model_.parameters);
  for (int step = 0; step < kSteps; ++step) {
    Tensor logits;
    ForwardBackward(&logits);
    optimizer->Step(step, config.learning_rate(),
                    1.0 / static_cast<double>(CountTargets()));
  }
  for (const Parameters::Entry& entry : model_.parameters.entries()) {
    Tensor actual = entry.variable.value();
    const Tensor expected = Read("after5." + entry.name);
    if (absl::EndsWith(entry.name, "qkv.bias")) {
      Tensor keys = KeysOf(actual);
      EXPECT_LT(LargestDifference(keys, KeysOf(expected)), kSteps * tolerance())
          << entry.name;
      kernels::copy(OnModelsDevice(Cast(KeysOf(expected), dtype())), &keys);
    }
    EXPECT_LT(RelativeError(actual, expected), tolerance()) << entry.name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    , ParityTest,
    testing::Combine(testing::Values("tiny_gpt2", "tiny_llama",
                                     "tiny_llama_window"),
                     testing::Values(DType::kF32, DType::kF64)),
    [](const auto& info) {
      return absl::StrCat(std::get<0>(info.param), "_",
                          DTypeName(std::get<1>(info.param)));
    });

}  // namespace
}  // namespace nextword

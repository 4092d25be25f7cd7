#include "tests/testing_learner.h"

#include <string>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/base/status.h"
#include "autograd/tensor/allocator.h"
#include "distributed/batch.h"

namespace nextword {
namespace {

// Sequences that can be learnt: each id follows from the one before it.
void ReadSequences(int32_t vocab_size, uint64_t first, Batch* batch) {
  for (int64_t i = 0; i < batch->inputs.dim(0); ++i) {
    int64_t id = static_cast<int64_t>((first + i) * 7 % vocab_size);
    for (int64_t t = 0; t < kLearnerLength; ++t) {
      batch->input_row(i)[t] = static_cast<int32_t>(id);
      id = (3 * id + 1) % vocab_size;
      batch->target_row(i)[t] = static_cast<int32_t>(id);
      if (batch->documents.defined()) {
        batch->document_row(i)[t] = static_cast<int32_t>((t + i) / 7);
      }
    }
  }
}

}  // namespace

TrainConfig ConfigOf(const ModelConfig& model, DeviceKind device) {
  TrainConfig config;
  config.set_seed(3);
  config.set_device(device);
  config.set_steps(50);
  *config.mutable_model() = model;
  config.mutable_model()->set_init_std(0.02);
  config.mutable_batch()->set_lanes(2);
  config.mutable_batch()->set_micro_batch(2);
  config.mutable_batch()->set_sequence_length(kLearnerLength);
  config.mutable_optimizer()->set_learning_rate(5e-3);
  return config;
}

std::unique_ptr<Learner> NewLearner(const TrainConfig& config) {
  auto learner = Learner::Create(config, config.model(), Alone());
  NW_CHECK_OK(learner.status());
  return *std::move(learner);
}

std::unique_ptr<Learner> NewLearner(const ModelConfig& model,
                                    DeviceKind device) {
  return NewLearner(ConfigOf(model, device));
}

Learner::StepResult Step(Learner* learner) {
  const int32_t vocab_size = learner->model().config().vocab_size();
  const auto result = learner->Step([=](uint64_t first, Batch* batch) {
    ReadSequences(vocab_size, first, batch);
  });
  NW_CHECK_OK(result.status());
  return *result;
}

std::vector<double> Train(int steps, Learner* learner) {
  std::vector<double> losses;
  for (int i = 0; i < steps; ++i) losses.push_back(Step(learner).loss);
  return losses;
}

void Continue(const Learner& from, Learner* to) {
  const auto copy = [&](const Tensor& x, Tensor y) {
    const std::vector<float> values = ToVector<float>(x);
    AllocatorFor(y.device())
        .Upload(values.data(), y.raw_data(), y.size_bytes());
  };
  copy(from.parameters().values(), to->parameters().values());
  const std::vector<NamedTensor> state = from.optimizer().State();
  const std::vector<NamedTensor> into = to->optimizer().State();
  NW_CHECK_EQ(state.size(), into.size()) << "moments";
  for (size_t i = 0; i < state.size(); ++i) {
    copy(state[i].tensor, into[i].tensor);
  }
  NW_CHECK_OK(
      to->ResumeAt(from.step(), from.next_sequence(), from.expected_factors()));
}

}  // namespace nextword

// A model with its weights and its tokenizer, out of a checkpoint.
#ifndef NEXTWORD_DISTRIBUTED_TRAINED_MODEL_H_
#define NEXTWORD_DISTRIBUTED_TRAINED_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "autograd/parameters.h"
#include "autograd/tensor/tensor.h"
#include "configs/train_config.pb.h"
#include "data/tokenizer.h"
#include "layers/transformer.h"

namespace nextword {

// The weights as checkpoints name them, sharing memory with `parameters`.
std::vector<NamedTensor> NamedWeights(const Parameters& parameters);

// What generation, evaluation and inspection need. Move-only.
struct TrainedModel {
  // `path` is a checkpoint's folder or a run's, which stands for its newest.
  static absl::StatusOr<TrainedModel> Load(const std::string& path,
                                           Device device = Device::Cpu());

  std::string checkpoint;  // The folder that was read.
  TrainConfig config;
  Tokenizer tokenizer;
  std::unique_ptr<layers::Transformer> model;
  std::unique_ptr<Parameters> parameters;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_TRAINED_MODEL_H_

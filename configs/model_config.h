// The model's part of a config: its rules, and the meaning of its zeros.
// Thread-safe.
#ifndef NEXTWORD_CONFIGS_MODEL_CONFIG_H_
#define NEXTWORD_CONFIGS_MODEL_CONFIG_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "configs/config_errors.h"
#include "configs/train_config.pb.h"

namespace nextword {

// Adds every value out of range and every contradiction between fields, by
// path below "model", with the value seen and the value wanted.
void CheckModel(const ModelConfig& model, ConfigErrors* errors);

// The errors of CheckModel as one InvalidArgument.
absl::Status ValidateModel(const ModelConfig& model);

// `model` with every "0 means ..." replaced by what it means: kv_heads,
// head_dim and mlp_size by arithmetic, vocab_size by the tokenizer's size (in
// tokens; 0 when there is no tokenizer, and then the config must give it).
// sliding_window stays, for its 0 means no window. What every other part of
// the program takes. Errors: those of ValidateModel; a vocabulary smaller than
// the tokenizer's, or none at all.
absl::StatusOr<ModelConfig> ResolveModel(const ModelConfig& model,
                                         int64_t tokenizer_size);

}  // namespace nextword

#endif  // NEXTWORD_CONFIGS_MODEL_CONFIG_H_

// What a model costs: parameters, floating-point operations, memory.
#ifndef NEXTWORD_LAYERS_MODEL_COST_H_
#define NEXTWORD_LAYERS_MODEL_COST_H_

#include <cstdint>

#include "configs/train_config.pb.h"

namespace nextword::layers {

// Parameters by part. Read off the modules themselves, so that it is what
// training allocates.
struct ParameterCount {
  int64_t embedding = 0;     // Tokens and positions.
  int64_t attention = 0;     // Matrices.
  int64_t feed_forward = 0;  // Matrices.
  int64_t head = 0;          // 0 when tied to the token embedding.
  int64_t vectors = 0;       // Norms and biases.

  int64_t total() const {
    return embedding + attention + feed_forward + head + vectors;
  }
};

// `model` is resolved, here and below. Allocates nothing.
ParameterCount CountParameters(const ModelConfig& model);

// Multiply-adds counted as two, forward and backward (three times forward), per
// token of a sequence of `sequence_length`: 6 per element of each matrix that
// multiplies activations (the head's included, embedding look-ups not), and 12
// L H D keys for attention, where `keys` is the mean number that a causal
// query sees, (T + 1) / 2 without a sliding window.
double TrainFlopsPerToken(const ModelConfig& model, int64_t sequence_length);

// Bytes of one training step, f32.
struct TrainMemory {
  int64_t weights = 0;
  int64_t gradients = 0;
  int64_t moments = 0;
  int64_t activations = 0;  // At their peak, logits included.

  int64_t total() const { return weights + gradients + moments + activations; }
};

// `gradient_buffers` counts the buffers that the sum over lanes needs.
TrainMemory EstimateTrainMemory(const ModelConfig& model, int64_t micro_batch,
                                int64_t sequence_length, int moments,
                                int gradient_buffers);

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_MODEL_COST_H_

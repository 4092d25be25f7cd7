// What a model costs: parameters, floating-point operations, memory.
#ifndef NEXTWORD_LAYERS_MODEL_COST_H_
#define NEXTWORD_LAYERS_MODEL_COST_H_

#include <cstdint>
#include <vector>

#include "autograd/tensor/dtype.h"
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

// How a model is trained, as far as memory goes.
struct TrainShape {
  int64_t micro_batch;
  int64_t sequence_length;
  int moments;           // Of the optimizer, per parameter,
  int hidden_moments;    // and per element of the blocks' matrices.
  int gradient_buffers;  // That the sum over lanes needs.
  DType compute_dtype;
  bool quantized = false;     // Linear layers multiply in eight bits,
  bool rounded_once = false;  // of weights that are rounded once a step.
  bool on_gpu = false;
  bool deterministic = true;
};

// Bytes of one training step at its peak.
struct TrainMemory {
  int64_t weights = 0;  // With the bf16 copies of mixed precision.
  int64_t rounded = 0;  // Weights in eight bits.
  int64_t gradients = 0;
  int64_t moments = 0;
  int64_t activations = 0;  // What backward needs, and a chunk of logits.
  // The process itself, its libraries' buffers; of a GPU, the latter.
  int64_t program = 0;
  int64_t checkpoint = 0;  // Of which a copy is written while training goes on.

  int64_t total() const {
    return weights + rounded + gradients + moments + activations + program +
           checkpoint;
  }
};

// Elements of the model's matrices, the largest first.
struct MatrixSizes {
  std::vector<int64_t> sizes;
  int64_t largest = 0;

  int64_t SumOfLargest(int count) const;
};
MatrixSizes LargestMatrices(const ModelConfig& model);

TrainMemory EstimateTrainMemory(const ModelConfig& model,
                                const TrainShape& shape);

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_MODEL_COST_H_

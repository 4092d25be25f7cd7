#include "layers/model_cost.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "layers/transformer.h"

namespace nextword::layers {
namespace {

// Keys that a query of a sequence of `length` tokens sees on average.
double MeanKeys(const ModelConfig& model, int64_t length) {
  const int64_t window = model.sliding_window() > 0
                             ? std::min<int64_t>(model.sliding_window(), length)
                             : length;
  // The first `window` queries see 1, 2, ... keys, the others `window`.
  const double ramp = static_cast<double>(window) * (window + 1) / 2;
  const double flat = static_cast<double>(length - window) * window;
  return (ramp + flat) / static_cast<double>(length);
}

// Elements per token that one block keeps for its backward pass: each op's
// saved inputs and results, as the code of the layers has them.
int64_t SavedPerBlock(const ModelConfig& m) {
  const int64_t c = m.hidden_size(), f = m.mlp_size();
  const int64_t q = int64_t{m.num_heads()} * m.head_dim();
  const int64_t kv = 2 * int64_t{m.kv_heads()} * m.head_dim();
  const int64_t rotated = m.position() == ROPE ? q + kv / 2 : 0;
  // The residual stream twice, both norms' results; qkv and its parts, also
  // after rotation; attention's result and out's.
  const int64_t attention = 2 * c + (q + kv) + (q + kv) + rotated + q + c;
  const int64_t pre = m.activation() == SWIGLU ? 2 * f : f;
  const int64_t mlp = 2 * c + pre + f + c;
  return attention + mlp;
}

}  // namespace

ParameterCount CountParameters(const ModelConfig& model) {
  ParameterCount count;
  const Transformer transformer(model);
  for (const NamedVariable& leaf : transformer.NamedParameters()) {
    const int64_t numel = leaf.variable.value().numel();
    if (leaf.variable.shape().rank() < 2) {
      count.vectors += numel;
    } else if (absl::StrContains(leaf.name, ".attn.")) {
      count.attention += numel;
    } else if (absl::StrContains(leaf.name, ".mlp.")) {
      count.feed_forward += numel;
    } else if (absl::StartsWith(leaf.name, "head.")) {
      count.head += numel;
    } else {
      count.embedding += numel;
    }
  }
  return count;
}

double TrainFlopsPerToken(const ModelConfig& model, int64_t sequence_length) {
  const ParameterCount count = CountParameters(model);
  const int64_t head = int64_t{model.vocab_size()} * model.hidden_size();
  const double matrices =
      static_cast<double>(count.attention + count.feed_forward + head);
  const double width = static_cast<double>(model.layers()) * model.num_heads() *
                       model.head_dim();
  return 6 * matrices + 12 * width * MeanKeys(model, sequence_length);
}

TrainMemory EstimateTrainMemory(const ModelConfig& model, int64_t micro_batch,
                                int64_t sequence_length, int moments,
                                int gradient_buffers) {
  constexpr int64_t kBytes = 4;
  const int64_t parameters = CountParameters(model).total();
  const int64_t tokens = micro_batch * sequence_length;
  const int64_t block = SavedPerBlock(model);
  const int64_t blocks =
      model.recompute() ? model.layers() * int64_t{model.hidden_size()} + block
                        : model.layers() * block;
  // Logits and their gradient, the residual stream and the final norm.
  const int64_t ends =
      2 * int64_t{model.vocab_size()} + 3 * int64_t{model.hidden_size()};
  TrainMemory memory;
  memory.weights = parameters * kBytes;
  memory.gradients = parameters * kBytes * gradient_buffers;
  memory.moments = parameters * kBytes * moments;
  memory.activations = tokens * (blocks + ends) * kBytes;
  return memory;
}

}  // namespace nextword::layers

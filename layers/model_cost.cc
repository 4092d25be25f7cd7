#include "layers/model_cost.h"

#include <algorithm>
#include <functional>

#include "absl/strings/match.h"
#include "autograd/base/check.h"
#include "autograd/kernels/score_memory.h"
#include "autograd/ops/loss.h"
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

// Bytes per token of what a model computes.
struct TokenBytes {
  TokenBytes(const ModelConfig& m, const TrainShape& shape)
      : quantized(shape.quantized),
        compute(static_cast<int64_t>(DTypeSize(shape.compute_dtype))),
        factor(quantized ? 1 : compute),
        stream(m.residual_in_bf16() ? compute : 4),
        hidden(m.hidden_size()),
        heads(int64_t{m.num_heads()} * m.head_dim()),
        qkv(heads + 2 * int64_t{m.kv_heads()} * m.head_dim()),
        post(m.mlp_size()),
        pre(m.activation() == SWIGLU ? 2 * post : post),
        rotary(m.position() == ROPE) {}

  // What one block keeps for its backward pass: the residual stream twice;
  // both norms' results, qkv (before and after rotation), attention's result,
  // in eight bits once more, and the feed-forward layer before and after its
  // activation.
  int64_t SavedByBlock() const {
    return stream * 2 * hidden +
           compute * (qkv * (rotary ? 2 : 1) + heads + pre) +
           factor * (2 * hidden + post + (quantized ? heads : 0));
  }

  // Of that what the feed-forward layer can compute again from the stream.
  int64_t SavedByMlp() const {
    return compute * pre + factor * (hidden + post);
  }

  // What all blocks keep, with one, or its part, computed again.
  int64_t SavedByBlocks(const ModelConfig& model) const {
    switch (model.recompute()) {
      case ModelConfig::NONE:
        return model.layers() * SavedByBlock();
      case ModelConfig::MLP:
        return model.layers() * (SavedByBlock() - SavedByMlp()) + SavedByMlp();
      case ModelConfig::BLOCK:
        return model.layers() * stream * hidden + SavedByBlock();
    }
    NW_CHECK(false) << "recompute " << model.recompute();
    return 0;
  }

  // The gradients on their way through a block, at the most; one in eight bits,
  // and its transpose.
  int64_t PassingBlock() const {
    return stream * 2 * hidden + compute * (pre + post) +
           (quantized ? 2 * pre : 0);
  }

  // The embedding, the final norm's result, and its gradient by the loss.
  int64_t Ends() const { return stream * hidden + 2 * compute * hidden; }

  bool quantized;
  int64_t compute, factor;  // Of an element; of a factor of a product.
  int64_t stream, hidden, heads, qkv, post, pre;
  bool rotary;
};

// The chunk of logits with, in mixed precision, their gradients; and the
// gradient of the head's matrix, which waits for the backward pass.
int64_t LossBytes(const ModelConfig& model, const TrainShape& shape) {
  const int64_t vocab = model.vocab_size();
  const int64_t tokens = shape.micro_batch * shape.sequence_length;
  const int64_t most =
      ChunkLogits(shape.on_gpu ? DeviceType::kCuda : DeviceType::kCpu);
  const int64_t logits = LossChunkRows(tokens, vocab, most) * vocab;
  const int64_t bytes = shape.compute_dtype == DType::kBF16 ? 4 + 2 : 4;
  return logits * bytes + vocab * int64_t{model.hidden_size()} * 4;
}

// Matrices in eight bits: all, and their transposes, or the transposes that the
// backward pass waits for: as many as it does not make again.
int64_t RoundedBytes(const ModelConfig& model, const ParameterCount& count,
                     bool once) {
  if (once) return 2 * (count.attention + count.feed_forward);
  switch (model.recompute()) {
    case ModelConfig::NONE:
      return count.attention + count.feed_forward;
    case ModelConfig::MLP:
      return count.attention + count.feed_forward / model.layers();
    case ModelConfig::BLOCK:
      return (count.attention + count.feed_forward) / model.layers();
  }
  NW_CHECK(false) << "recompute " << model.recompute();
  return 0;
}

// What libraries take on a GPU: a workspace for products, and attention's
// scores, or sums of queries' gradients in f32, where cuDNN computes it.
int64_t GpuLibraryBytes(const ModelConfig& model, const TrainShape& shape) {
  constexpr int64_t kProducts = int64_t{32} << 20;
  if (shape.compute_dtype != DType::kBF16) return kProducts;
  if (!shape.deterministic) {
    return kProducts + 4 * shape.micro_batch * shape.sequence_length *
                           model.num_heads() * model.head_dim();
  }
  return kProducts +
         kernels::ScoreMemory::Of(shape.micro_batch, model.num_heads(),
                                  shape.sequence_length, shape.sequence_length)
             .bytes;
}

}  // namespace

ParameterCount CountParameters(const ModelConfig& model) {
  ParameterCount count;
  const Transformer transformer(model);
  for (const NamedVariable& leaf : transformer.NamedParameters()) {
    const int64_t numel = leaf.variable.numel();
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

int64_t MatrixSizes::SumOfLargest(int count) const {
  int64_t sum = 0;
  for (size_t i = 0; i < sizes.size() && i < static_cast<size_t>(count); ++i) {
    sum += sizes[i];
  }
  return sum;
}

MatrixSizes LargestMatrices(const ModelConfig& model) {
  MatrixSizes matrices;
  const Transformer transformer(model);
  for (const NamedVariable& leaf : transformer.NamedParameters()) {
    if (leaf.variable.shape().rank() < 2) continue;
    matrices.sizes.push_back(leaf.variable.numel());
  }
  std::sort(matrices.sizes.begin(), matrices.sizes.end(),
            std::greater<int64_t>());
  matrices.largest = matrices.SumOfLargest(1);
  return matrices;
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

TrainMemory EstimateTrainMemory(const ModelConfig& model,
                                const TrainShape& shape) {
  constexpr int64_t kBytes = 4;
  // Code, libraries, and what allocation rounds up, as measured on small
  // models; and the buffers of oneDNN, whose products processors with AVX-512
  // use.
  constexpr int64_t kProgram = int64_t{30} << 20;
  constexpr int64_t kProducts = int64_t{46} << 20;
  const ParameterCount count = CountParameters(model);
  const int64_t tokens = shape.micro_batch * shape.sequence_length;
  const TokenBytes bytes(model, shape);
  // Never needed at once, but the allocator keeps the memory of each: blocks of
  // one size do not serve for another.
  const int64_t passing =
      LossBytes(model, shape) + tokens * bytes.PassingBlock();
  TrainMemory memory;
  memory.weights = count.total() * kBytes;
  if (shape.compute_dtype == DType::kBF16) memory.weights += count.total() * 2;
  memory.gradients = count.total() * kBytes * shape.gradient_buffers;
  const int64_t hidden = count.attention + count.feed_forward;
  if (shape.quantized) {
    memory.rounded = RoundedBytes(model, count, shape.rounded_once);
  }
  memory.moments = kBytes * ((count.total() - hidden) * shape.moments +
                             hidden * shape.hidden_moments);
  memory.activations =
      tokens * (bytes.SavedByBlocks(model) + bytes.Ends()) + passing;
  if (shape.on_gpu) {
    memory.program = GpuLibraryBytes(model, shape);
    return memory;
  }
  memory.program = kProgram;
  if (__builtin_cpu_supports("avx512bw")) memory.program += kProducts;
  return memory;
}

}  // namespace nextword::layers

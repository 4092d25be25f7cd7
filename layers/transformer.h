// A decoder-only transformer: GPT-2 and the Llama family by configuration.
#ifndef NEXTWORD_LAYERS_TRANSFORMER_H_
#define NEXTWORD_LAYERS_TRANSFORMER_H_

#include <memory>
#include <vector>

#include "configs/train_config.pb.h"
#include "layers/basic.h"
#include "layers/block.h"
#include "layers/forward_context.h"
#include "layers/module.h"

namespace nextword::layers {

// B sequences of T tokens, C hidden size, V vocabulary. Forward passes may run
// in several threads when no context is shared.
class Transformer : public Module {
 public:
  // `model` is resolved (configs/model_config.h).
  explicit Transformer(const ModelConfig& model);

  // The normalised residual stream: ids i32 [B, T] -> [B, T, C].
  Variable Hidden(const Tensor& ids, const ForwardContext& context = {}) const;

  // Scores of the next token: hidden [.., C] -> [.., V], never bf16.
  Variable Logits(const Variable& hidden,
                  const ForwardContext& context = {}) const;

  // Logits(Hidden(ids)): [B, T, V].
  Variable Forward(const Tensor& ids, const ForwardContext& context = {}) const;

  // The sum over all tokens of -log of the probability of `targets` i32 [B, T]
  // after ids, in nats: []. A negative target counts for nothing.
  Variable SumLoss(const Tensor& ids, const Tensor& targets,
                   const ForwardContext& context = {}) const;

  const ModelConfig& config() const { return config_; }

  // Where its weights are, and where it takes ids from.
  Device device() const { return embed_.weight().device(); }

 private:
  // [V, C].
  const Variable& HeadWeight() const;
  Variable Embed(const Tensor& ids, const ForwardContext& context) const;

  const ModelConfig config_;
  Embedding embed_;
  std::unique_ptr<Embedding> pos_embed_;  // LEARNED positions.
  std::vector<std::unique_ptr<Block>> blocks_;
  Norm final_norm_;
  std::unique_ptr<Linear> head_;  // Without tied embeddings.
};

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_TRANSFORMER_H_

// One transformer block, pre-norm.
#ifndef NEXTWORD_LAYERS_BLOCK_H_
#define NEXTWORD_LAYERS_BLOCK_H_

#include <cstdint>
#include <string>

#include "configs/train_config.pb.h"
#include "layers/attention.h"
#include "layers/basic.h"
#include "layers/forward_context.h"
#include "layers/mlp.h"
#include "layers/module.h"

namespace nextword::layers {

// x += attention(norm(x)); x += mlp(norm(x)).
class Block : public Module {
 public:
  Block(const ModelConfig& model, int64_t index);

  // x [B, T, C] -> [B, T, C].
  Variable Forward(const Variable& x, const ForwardContext& context) const;

 private:
  template <typename Branch>
  Variable AddBranch(const Variable& x, const Norm& norm, const Branch& branch,
                     const char* name, const ForwardContext& context) const;

  const std::string prefix_;  // "blocks.3."
  const bool recompute_mlp_;
  Norm attn_norm_;
  Attention attn_;
  Norm mlp_norm_;
  Mlp mlp_;
};

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_BLOCK_H_

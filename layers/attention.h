// Causal self-attention with grouped-query heads.
#ifndef NEXTWORD_LAYERS_ATTENTION_H_
#define NEXTWORD_LAYERS_ATTENTION_H_

#include <cstdint>
#include <string>

#include "autograd/ops/attention.h"
#include "configs/train_config.pb.h"
#include "layers/basic.h"
#include "layers/forward_context.h"
#include "layers/module.h"

namespace nextword::layers {

// Queries, keys and values come from one product, `qkv` [(H + 2 K) D, C], rows
// in that order; `out` [C, H D] leads back. `model` is resolved.
class Attention : public Module {
 public:
  Attention(const ModelConfig& model, int64_t block);

  // x [B, T, C] -> [B, T, C], plus `residual` where defined. Taps below
  // `prefix`: q [B, T, H, D], k and v [B, T, K, D] (after rotation), pattern
  // [B, H, T, S], z [B, T, H, D].
  Variable Forward(const Variable& x, const ForwardContext& context,
                   const std::string& prefix, const Variable& residual) const;

  // What x has to be.
  DType dtype() const { return qkv_.dtype(); }

 private:
  // Whether somebody needs queries, keys and values one by one.
  bool IsOpened(const ForwardContext& context, const std::string& prefix) const;

  // For them: qkv [B, T, H + 2 K, D], rotated, to z.
  Variable AttendInParts(const Variable& qkv, const ForwardContext& context,
                         const std::string& prefix, AttentionMask mask) const;

  const int64_t block_, num_heads_, kv_heads_, head_dim_, window_;
  const bool rotary_;
  const double rope_theta_;
  Linear qkv_, out_;
};

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_ATTENTION_H_

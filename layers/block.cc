#include "layers/block.h"

#include "autograd/ops/arithmetic.h"

namespace nextword::layers {

Block::Block(const ModelConfig& model, int64_t index)
    : prefix_("blocks." + std::to_string(index) + "."),
      attn_norm_(model),
      attn_(model, index),
      mlp_norm_(model),
      mlp_(model) {
  AddPart("attn_norm", &attn_norm_);
  AddPart("attn", &attn_);
  AddPart("mlp_norm", &mlp_norm_);
  AddPart("mlp", &mlp_);
}

Variable Block::Forward(const Variable& input,
                        const ForwardContext& context) const {
  Variable x = Visit(context, prefix_, "resid_pre", input);

  Variable attn = attn_.Forward(attn_norm_.Forward(x), context, prefix_);
  attn = Visit(context, prefix_, "attn_out", attn);
  x = Add(x, DropoutAt(context, prefix_, "attn_out", attn));
  x = Visit(context, prefix_, "resid_mid", x);

  Variable mlp = mlp_.Forward(mlp_norm_.Forward(x), context, prefix_);
  mlp = Visit(context, prefix_, "mlp_out", mlp);
  x = Add(x, DropoutAt(context, prefix_, "mlp_out", mlp));
  return Visit(context, prefix_, "resid_post", x);
}

}  // namespace nextword::layers

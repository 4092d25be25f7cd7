#include "layers/block.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/recompute.h"

namespace nextword::layers {

Block::Block(const ModelConfig& model, int64_t index)
    : prefix_("blocks." + std::to_string(index) + "."),
      recompute_mlp_(model.recompute() == ModelConfig::MLP),
      attn_norm_(model),
      attn_(model, index),
      mlp_norm_(model),
      mlp_(model) {
  AddPart("attn_norm", &attn_norm_);
  AddPart("attn", &attn_);
  AddPart("mlp_norm", &mlp_norm_);
  AddPart("mlp", &mlp_);
}

// The residual stream after a branch. A branch whose result somebody looks at,
// or drops from, is computed by itself; otherwise its last product adds it to
// the stream.
template <typename Branch>
Variable Block::AddBranch(const Variable& x, const Norm& norm,
                          const Branch& branch, const char* name,
                          const ForwardContext& context) const {
  const Variable normed = norm.Forward(x, branch.dtype());
  if (context.dropout == 0 && !IsWanted(context, prefix_, name)) {
    return branch.Forward(normed, context, prefix_, x);
  }
  Variable y = branch.Forward(normed, context, prefix_, Variable());
  y = Visit(context, prefix_, name, y);
  y = DropoutAt(context, prefix_, name, y);
  return Add(x, Cast(y, x.dtype()));
}

Variable Block::Forward(const Variable& input,
                        const ForwardContext& context) const {
  Variable x = Visit(context, prefix_, "resid_pre", input);
  x = AddBranch(x, attn_norm_, attn_, "attn_out", context);
  x = Visit(context, prefix_, "resid_mid", x);
  const auto add_mlp = [this, context](const Variable& stream) {
    return AddBranch(stream, mlp_norm_, mlp_, "mlp_out", context);
  };
  const bool recompute = recompute_mlp_ && context.tap == nullptr;
  x = recompute ? Recompute(add_mlp, x) : add_mlp(x);
  return Visit(context, prefix_, "resid_post", x);
}

}  // namespace nextword::layers

// Tap: a look into the forward pass.
//
// A model calls its tap at named activations, by the names that TransformerLens
// made usual: embed, blocks.N.resid_pre, .q, .k, .v, .pattern, .z, .attn_out,
// .resid_mid, .mlp_pre, .mlp_post, .mlp_out, .resid_post, final_norm, logits.
// Without a tap nothing is computed for it.
#ifndef NEXTWORD_LAYERS_TAP_H_
#define NEXTWORD_LAYERS_TAP_H_

#include <string>

#include "autograd/variable.h"

namespace nextword::layers {

class Tap {
 public:
  virtual ~Tap() = default;

  // Whether Visit is wanted for `name`. Asked before anything is made only for
  // the tap: "pattern" [B, H, T, S] exists only when wanted.
  virtual bool Wants(const std::string& name) const = 0;

  // Sees an activation and returns what the model goes on with: `x` itself to
  // watch, anything of the same shape to patch.
  virtual Variable Visit(const std::string& name, const Variable& x) = 0;
};

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_TAP_H_

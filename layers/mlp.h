// The feed-forward layer of a block.
#ifndef NEXTWORD_LAYERS_MLP_H_
#define NEXTWORD_LAYERS_MLP_H_

#include <string>

#include "configs/train_config.pb.h"
#include "layers/basic.h"
#include "layers/forward_context.h"
#include "layers/module.h"

namespace nextword::layers {

// down(activation(up(x))), or for SWIGLU down(silu(gate) * up) with gate and up
// from one product, `gate_up` [2 F, C], gate first. `model` is resolved.
class Mlp : public Module {
 public:
  explicit Mlp(const ModelConfig& model);

  // x [B, T, C] -> [B, T, C], plus `residual` where defined. Taps below
  // `prefix`: mlp_pre [B, T, F] ([.., 2 F] for SWIGLU) and mlp_post [B, T, F].
  Variable Forward(const Variable& x, const ForwardContext& context,
                   const std::string& prefix, const Variable& residual) const;

  // What x has to be.
  DType dtype() const { return up_.dtype(); }

 private:
  Variable GeluTanhForward(const Variable& x, const DelayedScales* scales,
                           const Variable& residual) const;

  const Activation activation_;
  Linear up_, down_;
};

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_MLP_H_

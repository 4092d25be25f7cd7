#include "layers/mlp.h"

#include <cmath>

#include "autograd/base/check.h"
#include "autograd/ops/activation.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/quantized_linear.h"

namespace nextword::layers {
namespace {

Variable Activate(Activation activation, const Variable& x) {
  switch (activation) {
    case GELU_TANH:
      return GeluTanh(x);
    case GELU:
      return Gelu(x);
    case SILU:
      return Silu(x);
    case SWIGLU:
      return Swiglu(x);
  }
  NW_CHECK(false) << "activation " << activation;
  return x;
}

}  // namespace

Mlp::Mlp(const ModelConfig& model)
    : activation_(model.activation()),
      up_(model.hidden_size(),
          model.mlp_size() * (activation_ == SWIGLU ? 2 : 1), model.bias(),
          model.init_std()),
      down_(model.mlp_size(), model.hidden_size(), model.bias(),
            model.init_std() / std::sqrt(2.0 * model.layers())) {
  AddPart(activation_ == SWIGLU ? "gate_up" : "up", &up_);
  AddPart("down", &down_);
}

Variable Mlp::GeluTanhForward(const Variable& x, const DelayedScales* scales,
                              const Variable& residual) const {
  if (scales == nullptr) {
    return GeluTanhFeedForward(x, up_.weight(), up_.bias(), down_.weight(),
                               down_.bias(), residual);
  }
  return QuantizedGeluTanhFeedForward(
      x, up_.weight(), up_.bias(), down_.weight(), down_.bias(), residual,
      scales->Of(up_.weight()), scales->Of(down_.weight()));
}

Variable Mlp::Forward(const Variable& x, const ForwardContext& context,
                      const std::string& prefix,
                      const Variable& residual) const {
  const bool opened = IsWanted(context, prefix, "mlp_pre") ||
                      IsWanted(context, prefix, "mlp_post");
  if (activation_ == GELU_TANH && !opened) {
    return GeluTanhForward(x, context.scales, residual);
  }
  const Variable pre =
      Visit(context, prefix, "mlp_pre", up_.Forward(x, context));
  const Variable post =
      Visit(context, prefix, "mlp_post", Activate(activation_, pre));
  return down_.Forward(post, context, residual);
}

}  // namespace nextword::layers

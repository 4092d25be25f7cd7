#include "layers/basic.h"

#include "autograd/ops/layout.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/quantized_linear.h"

namespace nextword::layers {

Linear::Linear(int64_t in, int64_t out, bool bias, double init_std) {
  weight_ = AddParameter("weight", {out, in}, Init::Normal(init_std));
  if (bias) bias_ = AddParameter("bias", {out}, Init::Constant(0));
}

Variable Linear::Forward(const Variable& x, const ForwardContext& context,
                         const Variable& residual) const {
  if (context.scales == nullptr) {
    return nextword::Linear(x, weight_, bias_, residual);
  }
  return QuantizedLinear(x, weight_, bias_, residual,
                         context.scales->Of(weight_));
}

Embedding::Embedding(int64_t rows, int64_t size, double init_std) {
  weight_ = AddParameter("weight", {rows, size}, Init::Normal(init_std));
}

Variable Embedding::Forward(const Tensor& ids, DType dtype) const {
  return nextword::Embedding(weight_, ids, dtype);
}

Norm::Norm(const ModelConfig& model)
    : kind_(model.norm()), epsilon_(model.norm_epsilon()) {
  const Shape shape = {model.hidden_size()};
  weight_ = AddParameter("weight", shape, Init::Constant(1));
  if (kind_ == LAYER_NORM && model.bias()) {
    bias_ = AddParameter("bias", shape, Init::Constant(0));
  }
}

Variable Norm::Forward(const Variable& x, DType dtype) const {
  return kind_ == LAYER_NORM ? LayerNorm(x, weight_, bias_, epsilon_, dtype)
                             : RmsNorm(x, weight_, epsilon_, dtype);
}

}  // namespace nextword::layers

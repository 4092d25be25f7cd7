// The smallest modules: linear maps, embeddings and norms.
#ifndef NEXTWORD_LAYERS_BASIC_H_
#define NEXTWORD_LAYERS_BASIC_H_

#include <cstdint>

#include "configs/train_config.pb.h"
#include "layers/forward_context.h"
#include "layers/module.h"

namespace nextword::layers {

// y = x weight' + bias: x [.., in], weight [out, in], bias [out], zero at the
// start.
class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out, bool bias, double init_std);
  // With `residual` [.., out], their sum. Products as the context has them.
  Variable Forward(const Variable& x, const ForwardContext& context,
                   const Variable& residual = Variable()) const;

  // What x has to be: the weight's dtype.
  DType dtype() const { return weight_.dtype(); }

  const Variable& weight() const { return weight_; }
  // Undefined where there is none.
  const Variable& bias() const { return bias_; }

 private:
  Variable weight_, bias_;
};

// Rows of weight [rows, size].
class Embedding : public Module {
 public:
  Embedding(int64_t rows, int64_t size, double init_std);

  // ids i32 [..] -> [.., size], as `dtype`.
  Variable Forward(const Tensor& ids, DType dtype) const;

  const Variable& weight() const { return weight_; }

 private:
  Variable weight_;
};

// LayerNorm or RmsNorm over the last dimension, as the config says; weight
// starts as ones, the bias (of a LayerNorm, when the model has biases) as
// zeros.
class Norm : public Module {
 public:
  explicit Norm(const ModelConfig& model);

  // The result as `dtype`, for those that go on from there.
  Variable Forward(const Variable& x, DType dtype) const;

 private:
  const nextword::Norm kind_;
  const double epsilon_;
  Variable weight_, bias_;
};

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_BASIC_H_

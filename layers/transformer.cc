#include "layers/transformer.h"

#include "autograd/base/check.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/recompute.h"
#include "autograd/ops/reduction.h"

namespace nextword::layers {

Transformer::Transformer(const ModelConfig& model)
    : config_(model),
      embed_(model.vocab_size(), model.hidden_size(), model.init_std()),
      final_norm_(model) {
  AddPart("embed", &embed_);
  if (model.position() == LEARNED) {
    pos_embed_ = std::make_unique<Embedding>(
        model.context_length(), model.hidden_size(), model.init_std());
    AddPart("pos_embed", pos_embed_.get());
  }
  for (int i = 0; i < model.layers(); ++i) {
    blocks_.push_back(std::make_unique<Block>(model, i));
    AddPart("blocks." + std::to_string(i), blocks_.back().get());
  }
  AddPart("final_norm", &final_norm_);
  if (!model.tied_embeddings()) {
    head_ = std::make_unique<Linear>(model.hidden_size(), model.vocab_size(),
                                     false, model.init_std());
    AddPart("head", head_.get());
  }
}

Variable Transformer::Embed(const Tensor& ids,
                            const ForwardContext& context) const {
  const int64_t first = context.first_position();
  const int64_t last = first + ids.dim(1);
  NW_CHECK_LE(last, config_.context_length()) << "tokens in context";
  const DType dtype = embed_.weight().dtype();
  Variable x =
      embed_.Forward(ids, config_.residual_in_bf16() ? dtype : SumDType(dtype));
  if (pos_embed_ != nullptr) x = AddRows(x, pos_embed_->weight(), first);
  x = DropoutAt(context, "", "embed", x);
  return Visit(context, "", "embed", x);
}

Variable Transformer::Hidden(const Tensor& ids,
                             const ForwardContext& context) const {
  // What a tap returned belongs to this pass and must not be made again.
  const bool recompute =
      config_.recompute() == ModelConfig::BLOCK && context.tap == nullptr;
  Variable x = Embed(ids, context);
  for (const auto& block : blocks_) {
    const auto forward = [&block = *block, context](const Variable& input) {
      return block.Forward(input, context);
    };
    x = recompute ? Recompute(forward, x) : forward(x);
  }
  if (context.cache != nullptr) context.cache->Advance(ids.dim(1));
  return Visit(context, "", "final_norm",
               final_norm_.Forward(x, HeadWeight().dtype()));
}

const Variable& Transformer::HeadWeight() const {
  return head_ != nullptr ? head_->weight() : embed_.weight();
}

Variable Transformer::Logits(const Variable& hidden,
                             const ForwardContext& context) const {
  const Variable& weight = HeadWeight();
  return Visit(
      context, "", "logits",
      nextword::Linear(hidden, weight, {}, {}, SumDType(weight.dtype())));
}

Variable Transformer::Forward(const Tensor& ids,
                              const ForwardContext& context) const {
  return Logits(Hidden(ids, context), context);
}

Variable Transformer::SumLoss(const Tensor& ids, const Tensor& targets,
                              const ForwardContext& context) const {
  const Variable hidden = Hidden(ids, context);
  if (IsWanted(context, "", "logits")) {
    return Sum(CrossEntropy(Logits(hidden, context), targets));
  }
  return LinearCrossEntropy(hidden, HeadWeight(), targets);
}

}  // namespace nextword::layers

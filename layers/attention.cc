#include "layers/attention.h"

#include <cmath>

#include "autograd/ops/attention.h"
#include "autograd/ops/layout.h"

namespace nextword::layers {

Attention::Attention(const ModelConfig& model, int64_t block)
    : block_(block),
      num_heads_(model.num_heads()),
      kv_heads_(model.kv_heads()),
      head_dim_(model.head_dim()),
      window_(model.sliding_window()),
      rotary_(model.position() == ROPE),
      rope_theta_(model.rope_theta()),
      qkv_(model.hidden_size(), (num_heads_ + 2 * kv_heads_) * head_dim_,
           model.bias(), model.init_std()),
      out_(num_heads_ * head_dim_, model.hidden_size(), model.bias(),
           model.init_std() / std::sqrt(2.0 * model.layers())) {
  AddPart("qkv", &qkv_);
  AddPart("out", &out_);
}

bool Attention::IsOpened(const ForwardContext& context,
                         const std::string& prefix) const {
  if (context.cache != nullptr) return true;
  for (const char* name : {"q", "k", "v", "pattern"}) {
    if (IsWanted(context, prefix, name)) return true;
  }
  return false;
}

Variable Attention::AttendInParts(const Variable& qkv,
                                  const ForwardContext& context,
                                  const std::string& prefix,
                                  AttentionMask mask) const {
  const int64_t end_of_keys = num_heads_ + kv_heads_;
  const Variable q = Visit(context, prefix, "q", Slice(qkv, 2, 0, num_heads_));
  Variable k =
      Visit(context, prefix, "k", Slice(qkv, 2, num_heads_, end_of_keys));
  Variable v =
      Visit(context, prefix, "v", Slice(qkv, 2, end_of_keys, qkv.dim(2)));
  if (context.cache != nullptr) {
    mask.keys = context.cache->length() + qkv.dim(1);
    context.cache->Append(block_, k.value(), v.value());
    k = Variable(context.cache->keys(block_));
    v = Variable(context.cache->values(block_));
  }
  if (!IsWanted(context, prefix, "pattern")) {
    return nextword::Attention(q, k, v, mask);
  }
  const Variable pattern = AttentionPattern(q, k, mask);
  return AttendWith(Visit(context, prefix, "pattern", pattern), v);
}

Variable Attention::Forward(const Variable& x, const ForwardContext& context,
                            const std::string& prefix,
                            const Variable& residual) const {
  Variable qkv =
      Reshape(qkv_.Forward(x, context),
              {x.dim(0), x.dim(1), num_heads_ + 2 * kv_heads_, head_dim_});
  if (rotary_) {
    qkv = Rope(qkv, rope_theta_, context.first_position(),
               num_heads_ + kv_heads_);
  }
  const AttentionMask mask{.window = window_, .documents = context.documents};
  Variable z = IsOpened(context, prefix)
                   ? AttendInParts(qkv, context, prefix, mask)
                   : SelfAttention(qkv, num_heads_, kv_heads_, mask);
  z = Visit(context, prefix, "z", z);
  z = Reshape(z, {x.dim(0), x.dim(1), num_heads_ * head_dim_});
  return out_.Forward(z, context, residual);
}

}  // namespace nextword::layers

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

Variable Attention::Heads(const Variable& qkv, int64_t begin,
                          int64_t count) const {
  const Variable part =
      Slice(qkv, -1, begin * head_dim_, (begin + count) * head_dim_);
  return Reshape(part, {qkv.dim(0), qkv.dim(1), count, head_dim_});
}

Variable Attention::Forward(const Variable& x, const ForwardContext& context,
                            const std::string& prefix,
                            const Variable& residual) const {
  const Variable qkv = qkv_.Forward(x);
  Variable q = Heads(qkv, 0, num_heads_);
  Variable k = Heads(qkv, num_heads_, kv_heads_);
  Variable v = Heads(qkv, num_heads_ + kv_heads_, kv_heads_);
  if (rotary_) {
    q = Rope(q, rope_theta_, context.first_position());
    k = Rope(k, rope_theta_, context.first_position());
  }
  q = Visit(context, prefix, "q", q);
  k = Visit(context, prefix, "k", k);
  v = Visit(context, prefix, "v", v);

  AttentionMask mask{.window = window_, .documents = context.documents};
  if (context.cache != nullptr) {
    mask.keys = context.cache->length() + x.dim(1);
    context.cache->Append(block_, k.value(), v.value());
    k = Variable(context.cache->keys(block_));
    v = Variable(context.cache->values(block_));
  }
  Variable z;
  if (IsWanted(context, prefix, "pattern")) {
    const Variable pattern = AttentionPattern(q, k, mask);
    z = AttendWith(Visit(context, prefix, "pattern", pattern), v);
  } else {
    z = nextword::Attention(q, k, v, mask);
  }
  z = Visit(context, prefix, "z", z);
  z = Reshape(z, {x.dim(0), x.dim(1), num_heads_ * head_dim_});
  return out_.Forward(z, residual);
}

}  // namespace nextword::layers

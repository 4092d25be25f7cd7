// Attention and rotary positions.
//
// B batch, T queries, S keys, H query heads, K key and value heads (K divides
// H; query head h uses key head h / (H / K)), D head size.
#ifndef NEXTWORD_AUTOGRAD_OPS_ATTENTION_H_
#define NEXTWORD_AUTOGRAD_OPS_ATTENTION_H_

#include <cstdint>

#include <cstdint>
#include <optional>

#include "autograd/kernels/kernels.h"
#include "autograd/variable.h"

namespace nextword {

using kernels::AttentionMask;

// Causal softmax(q k' / sqrt(D)) v: q [B, T, H, D]; k, v [B, S, K, D]; result
// [B, T, H, D]. Fused: the T x S matrix is made in blocks and recomputed in
// backward, never kept.
Variable Attention(const Variable& q, const Variable& k, const Variable& v,
                   const AttentionMask& mask = {});

// The same of queries, keys and values that lie in one tensor: the first H =
// num_heads heads of qkv [B, T, H + 2 K, D], the next K = kv_heads, and the
// rest. Nothing is copied, forward or backward. Result [B, T, H, D].
Variable SelfAttention(const Variable& qkv, int64_t num_heads, int64_t kv_heads,
                       const AttentionMask& mask = {});

// The probabilities of the same attention, [B, H, T, S].
Variable AttentionPattern(const Variable& q, const Variable& k,
                          const AttentionMask& mask = {});

// pattern [B, H, T, S] times v [B, S, K, D]: [B, T, H, D]. With
// AttentionPattern the same maths as Attention, from plain ops.
Variable AttendWith(const Variable& pattern, const Variable& v);

// Turns the pair (i, i + D / 2) of x [B, T, H, D] at position p by the angle
// p theta^(-2i / D); the first row has position `first_position` (Su et al.
// 2021, with the pairing of Llama). Of the first `heads` heads only, where that
// is given; the others are copied.
Variable Rope(const Variable& x, double theta, int64_t first_position = 0,
              std::optional<int64_t> heads = std::nullopt);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_ATTENTION_H_

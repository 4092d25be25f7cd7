#include "autograd/ops/attention.h"

#include <cmath>

#include "autograd/base/check.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/layout.h"
#include "autograd/ops/matmul.h"

namespace nextword {
namespace {

using kernels::Heads;

Heads AllHeads(const Tensor& x) { return {x, 0, x.dim(2)}; }

void CheckHeads(const Tensor& q, const Tensor& k) {
  const bool ranks = q.shape().rank() == 4 && k.shape().rank() == 4;
  NW_CHECK(ranks && q.dim(0) == k.dim(0) && q.dim(3) == k.dim(3) &&
           k.dim(2) > 0 && q.dim(2) % k.dim(2) == 0 && q.dtype() == k.dtype())
      << "attention of queries " << q << " to keys " << k;
}

// Of q with T queries and k with S keys.
void CheckMask(const Tensor& q, const Tensor& k, const AttentionMask& mask) {
  const int64_t keys = mask.keys > 0 ? mask.keys : k.dim(1);
  NW_CHECK(q.dim(1) <= keys && keys <= k.dim(1))
      << "attention: " << q.dim(1) << " queries, " << keys << " valid keys of "
      << k.dim(1);
  NW_CHECK(!mask.documents.defined() ||
           mask.documents.shape() == Shape({k.dim(0), k.dim(1)}))
      << "attention: documents " << mask.documents << " for keys " << k;
}

double AttentionScale(const Tensor& q) {
  return 1.0 / std::sqrt(static_cast<double>(q.dim(3)));
}

// What attention gives, and what its backward pass needs of it.
struct Attended {
  Attended(const Heads& q, const Heads& k, const Heads& v,
           const AttentionMask& mask) {
    const Tensor& x = q.data;
    y = Empty({x.dim(0), x.dim(1), q.count, x.dim(3)}, x.dtype(), x.device());
    lse = Empty({x.dim(0), q.count, x.dim(1)}, SumDType(x.dtype()), x.device());
    kernels::attention(q, k, v, AttentionScale(x), mask, &y, &lse);
  }

  Tensor y, lse;
};

// [B, S, K, D] -> [B, K * group, S, D]: each key head once per query head.
Variable RepeatHeads(const Variable& x, int64_t group) {
  const Variable by_head = Permute(x, {0, 2, 1, 3});
  if (group == 1) return by_head;
  const Shape& s = by_head.shape();
  const Tensor zeros =
      Zeros({s[0], s[1], group, s[2] * s[3]}, x.dtype(), x.value().device());
  const Variable repeated =
      Add(Reshape(by_head, {s[0], s[1], 1, s[2] * s[3]}), Variable(zeros));
  return Reshape(repeated, {s[0], s[1] * group, s[2], s[3]});
}

}  // namespace

Variable Attention(const Variable& q, const Variable& k, const Variable& v,
                   const AttentionMask& mask) {
  CheckHeads(q.value(), k.value());
  NW_CHECK(k.shape() == v.shape())
      << "attention: keys " << k.value() << ", values " << v.value();
  CheckMask(q.value(), k.value(), mask);
  const Attended attended(AllHeads(q.value()), AllHeads(k.value()),
                          AllHeads(v.value()), mask);
  return Record(
      "attention", attended.y, {q, k, v},
      [q = q.value(), k = k.value(), v = v.value(), attended,
       mask](const Tensor& dy) {
        const Tensor dq = EmptyLike(q), dk = EmptyLike(k), dv = EmptyLike(v);
        kernels::attention_grad(AllHeads(q), AllHeads(k), AllHeads(v),
                                attended.y, attended.lse, dy, AttentionScale(q),
                                mask, AllHeads(dq), AllHeads(dk), AllHeads(dv));
        return Gradients{dq, dk, dv};
      });
}

Variable SelfAttention(const Variable& qkv, int64_t num_heads, int64_t kv_heads,
                       const AttentionMask& mask) {
  const Tensor& x = qkv.value();
  NW_CHECK(x.shape().rank() == 4 && x.dim(2) == num_heads + 2 * kv_heads &&
           kv_heads > 0 && num_heads % kv_heads == 0)
      << "self-attention of " << x << " with " << num_heads << " heads and "
      << kv_heads << " of keys and values";
  CheckMask(x, x, mask);
  const auto queries = [=](const Tensor& t) { return Heads{t, 0, num_heads}; };
  const auto keys = [=](const Tensor& t) {
    return Heads{t, num_heads, kv_heads};
  };
  const auto values = [=](const Tensor& t) {
    return Heads{t, num_heads + kv_heads, kv_heads};
  };
  const Attended attended(queries(x), keys(x), values(x), mask);
  return Record("self_attention", attended.y, {qkv}, [=](const Tensor& dy) {
    const Tensor dx = EmptyLike(x);
    kernels::attention_grad(queries(x), keys(x), values(x), attended.y,
                            attended.lse, dy, AttentionScale(x), mask,
                            queries(dx), keys(dx), values(dx));
    return Gradients{dx};
  });
}

Variable AttentionPattern(const Variable& q, const Variable& k,
                          const AttentionMask& mask) {
  CheckHeads(q.value(), k.value());
  CheckMask(q.value(), k.value(), mask);
  const Variable keys = RepeatHeads(k, q.dim(2) / k.dim(2));
  const Variable scores = Scale(Matmul(Permute(q, {0, 2, 1, 3}), keys, true),
                                AttentionScale(q.value()));
  Tensor y = EmptyLike(scores.value());
  kernels::masked_softmax(scores.value(), mask, &y);
  return Record("masked_softmax", y, {scores}, [y](const Tensor& dy) {
    Tensor dx = EmptyLike(y);
    kernels::softmax_grad(y, dy, &dx);
    return Gradients{dx};
  });
}

Variable AttendWith(const Variable& pattern, const Variable& v) {
  const bool ranks = pattern.shape().rank() == 4 && v.shape().rank() == 4;
  NW_CHECK(ranks && v.dim(2) > 0 && pattern.dim(1) % v.dim(2) == 0)
      << "attention pattern " << pattern.value() << " with values "
      << v.value();
  const Variable values = RepeatHeads(v, pattern.dim(1) / v.dim(2));
  return Permute(Matmul(pattern, values), {0, 2, 1, 3});
}

Variable Rope(const Variable& x, double theta, int64_t first_position,
              std::optional<int64_t> heads) {
  NW_CHECK(x.shape().rank() == 4 && x.dim(3) % 2 == 0)
      << "rope of " << x.value();
  NW_CHECK_GE(first_position, 0) << "rope of " << x.value();
  const int64_t turned = heads.value_or(x.dim(2));
  NW_CHECK(0 <= turned && turned <= x.dim(2))
      << "rope of " << turned << " heads of " << x.value();
  Tensor y = EmptyLike(x.value());
  kernels::rope(x.value(), turned, theta, first_position, false, &y);
  return Record("rope", y, {x},
                [turned, theta, first_position](const Tensor& dy) {
                  Tensor dx = EmptyLike(dy);
                  kernels::rope(dy, turned, theta, first_position, true, &dx);
                  return Gradients{dx};
                });
}

}  // namespace nextword

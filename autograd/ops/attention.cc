#include "autograd/ops/attention.h"

#include <cmath>

#include "autograd/base/check.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/layout.h"
#include "autograd/ops/matmul.h"

namespace nextword {
namespace {

void CheckHeads(const Tensor& q, const Tensor& k) {
  const bool ranks = q.shape().rank() == 4 && k.shape().rank() == 4;
  NW_CHECK(ranks && q.dim(0) == k.dim(0) && q.dim(3) == k.dim(3) &&
           k.dim(2) > 0 && q.dim(2) % k.dim(2) == 0 && q.dtype() == k.dtype())
      << "attention of queries " << q << " to keys " << k;
}

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
  const double scale = AttentionScale(q.value());
  Tensor y = EmptyLike(q.value());
  Tensor lse = Empty({q.dim(0), q.dim(2), q.dim(1)},
                     q.dtype() == DType::kF64 ? DType::kF64 : DType::kF32,
                     q.value().device());
  kernels::attention(q.value(), k.value(), v.value(), scale, mask, &y, &lse);
  return Record("attention", y, {q, k, v},
                [q = q.value(), k = k.value(), v = v.value(), y, lse, scale,
                 mask](const Tensor& dy) {
                  Tensor dq = EmptyLike(q), dk = EmptyLike(k),
                         dv = EmptyLike(v);
                  kernels::attention_grad(q, k, v, y, lse, dy, scale, mask, &dq,
                                          &dk, &dv);
                  return Gradients{dq, dk, dv};
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

Variable Rope(const Variable& x, double theta, int64_t first_position) {
  NW_CHECK(x.shape().rank() == 4 && x.dim(3) % 2 == 0)
      << "rope of " << x.value();
  NW_CHECK_GE(first_position, 0) << "rope of " << x.value();
  Tensor y = EmptyLike(x.value());
  kernels::rope(x.value(), theta, first_position, false, &y);
  return Record("rope", y, {x}, [theta, first_position](const Tensor& dy) {
    Tensor dx = EmptyLike(dy);
    kernels::rope(dy, theta, first_position, true, &dx);
    return Gradients{dx};
  });
}

}  // namespace nextword

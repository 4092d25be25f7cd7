// What kernels have to do, where it is not a pass over each of their tensors:
// for profiles, and for the limit that a kernel's time is compared with.
#include <algorithm>

#include "autograd/kernels/kernels.h"

namespace nextword::kernels {
namespace {

using trace::Work;

double Bytes(In x) {
  return x.defined() ? static_cast<double>(x.size_bytes()) : 0;
}

double Product(int64_t a, int64_t b, int64_t c = 1) {
  return static_cast<double>(a) * static_cast<double>(b) *
         static_cast<double>(c);
}

Work MatmulWork(In a, bool ta, In b, bool tb, bool add, Out y) {
  Work work = decltype(matmul)::PassOver(a, ta, b, tb, add, y);
  if (add) work.bytes += Bytes(*y);
  work.flops = 2 * Product(y->numel(), a.dim(ta ? -2 : -1));
  return work;
}

Work LinearWork(In x, In w, In bias, In residual, Out y) {
  Work work = decltype(linear)::PassOver(x, w, bias, residual, y);
  work.flops = 2 * Product(y->numel(), x.dim(-1));
  return work;
}

Work LinearGeluTanhWork(In x, In w, In bias, Out pre, Out y) {
  Work work = decltype(linear_gelu_tanh)::PassOver(x, w, bias, pre, y);
  work.flops = 2 * Product(y->numel(), x.dim(-1));
  return work;
}

Work LinearGradWork(In dy, In x, bool add, Out dw, Out db) {
  Work work = decltype(linear_grad)::PassOver(dy, x, add, dw, db);
  if (add) work.bytes += Bytes(*dw);
  work.flops = 2 * Product(dw->numel(), x.dim(0));
  return work;
}

Work LinearGeluTanhGradWork(In dy, In w, In pre, Out dpre) {
  Work work = decltype(linear_gelu_tanh_grad)::PassOver(dy, w, pre, dpre);
  work.flops = 2 * Product(dpre->numel(), dy.dim(-1));
  return work;
}

Work MatmulQuantizedWork(In a, In scale_a, In b, In scale_b, In bias, In addend,
                         Out y) {
  Work work = decltype(matmul_quantized)::PassOver(a, scale_a, b, scale_b, bias,
                                                   addend, y);
  work.flops = 2 * Product(y->numel(), a.dim(-1));
  return work;
}

// Pairs of a query and a key that it sees; documents are not looked at.
double VisiblePairs(const Heads& q, const Heads& k, const AttentionMask& mask) {
  const int64_t queries = q.data.dim(1);
  const int64_t keys = mask.keys > 0 ? mask.keys : k.data.dim(1);
  const int64_t window = mask.window > 0 ? mask.window : keys;
  int64_t pairs = 0;
  for (int64_t t = 0; t < queries; ++t) {
    pairs += std::min(t + 1 + keys - queries, window);
  }
  return Product(pairs, q.data.dim(0), q.count);
}

// Scores and their products with the values.
Work AttentionWork(const Heads& q, const Heads& k, const Heads& v, double scale,
                   const AttentionMask& mask, Out y, Out lse) {
  Work work = decltype(attention)::PassOver(q, k, v, scale, mask, y, lse);
  work.flops =
      2 * 2 * VisiblePairs(q, k, mask) * static_cast<double>(q.data.dim(3));
  return work;
}

// Scores once more, and the gradients of weights, values, queries and keys.
Work AttentionGradWork(const Heads& q, const Heads& k, const Heads& v, In y,
                       In lse, In dy, double scale, const AttentionMask& mask,
                       const Heads& dq, const Heads& dk, const Heads& dv) {
  Work work = decltype(attention_grad)::PassOver(q, k, v, y, lse, dy, scale,
                                                 mask, dq, dk, dv);
  work.flops =
      5 * 2 * VisiblePairs(q, k, mask) * static_cast<double>(q.data.dim(3));
  return work;
}

// Of the table, the rows that are looked up.
Work EmbeddingWork(In /*w*/, In ids, Out y) {
  return {.bytes = Bytes(ids) + 2 * Bytes(*y)};
}

Work EmbeddingGradWork(In ids, In dy, Out dw) {
  const double rows = Product(dy.numel(), DTypeSize(dw->dtype()));
  return {.bytes = Bytes(ids) + Bytes(dy) + 2 * rows};
}

Work AccumulateWork(In x, Out y) { return {.bytes = Bytes(x) + 2 * Bytes(*y)}; }

Work AccumulateEachWork(const std::vector<Tensor>& x,
                        const std::vector<Tensor>& y) {
  Work work;
  for (size_t i = 0; i < x.size(); ++i) {
    work.bytes += Bytes(x[i]) + 2 * Bytes(y[i]);
  }
  return work;
}

Work AccumulateScaledWork(In /*a*/, In x, Out y) {
  return {.bytes = Bytes(x) + 2 * Bytes(*y)};
}

Work CopyRangeWork(In x, int axis, int64_t /*from*/, Out y, int64_t /*to*/,
                   int64_t count) {
  const double share = static_cast<double>(count) /
                       static_cast<double>(std::max<int64_t>(1, x.dim(axis)));
  return {.bytes = Bytes(x) * share *
                   (1 + static_cast<double>(DTypeSize(y->dtype())) /
                            static_cast<double>(DTypeSize(x.dtype())))};
}

Work LayerNormGradWork(In x, In weight, In mean, In rstd, In dy, bool add,
                       Out dx, Out rounded, Out dparameters) {
  Work work = decltype(layer_norm_grad)::PassOver(
      x, weight, mean, rstd, dy, add, dx, rounded, dparameters);
  if (add) work.bytes += Bytes(*dx);
  return work;
}

Work RmsNormGradWork(In x, In weight, In rstd, In dy, bool add, Out dx,
                     Out rounded, Out dparameters) {
  Work work = decltype(rms_norm_grad)::PassOver(x, weight, rstd, dy, add, dx,
                                                rounded, dparameters);
  if (add) work.bytes += Bytes(*dx);
  return work;
}

Work AdamWWork(Out param, Out grad, Out m, Out v, Out copy,
               const AdamWParams& /*params*/) {
  return {.bytes = 2 * (Bytes(*param) + Bytes(*grad) + Bytes(*m) + Bytes(*v)) +
                   Bytes(*copy)};
}

Work SgdWork(Out param, Out grad, Out momentum, Out copy,
             double /*learning_rate*/, double /*beta*/, double /*weight_decay*/,
             double /*grad_scale*/) {
  return {.bytes = 2 * (Bytes(*param) + Bytes(*grad) + Bytes(*momentum)) +
                   Bytes(*copy)};
}

[[maybe_unused]] const bool registered =
    matmul.RegisterWork(MatmulWork) && linear.RegisterWork(LinearWork) &&
    linear_gelu_tanh.RegisterWork(LinearGeluTanhWork) &&
    linear_grad.RegisterWork(LinearGradWork) &&
    linear_gelu_tanh_grad.RegisterWork(LinearGeluTanhGradWork) &&
    matmul_quantized.RegisterWork(MatmulQuantizedWork) &&
    attention.RegisterWork(AttentionWork) &&
    attention_grad.RegisterWork(AttentionGradWork) &&
    embedding.RegisterWork(EmbeddingWork) &&
    embedding_grad.RegisterWork(EmbeddingGradWork) &&
    accumulate.RegisterWork(AccumulateWork) &&
    accumulate_each.RegisterWork(AccumulateEachWork) &&
    accumulate_scaled.RegisterWork(AccumulateScaledWork) &&
    copy_range.RegisterWork(CopyRangeWork) &&
    layer_norm_grad.RegisterWork(LayerNormGradWork) &&
    rms_norm_grad.RegisterWork(RmsNormGradWork) &&
    adamw.RegisterWork(AdamWWork) && sgd.RegisterWork(SgdWork);

}  // namespace
}  // namespace nextword::kernels

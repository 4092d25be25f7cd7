// THE device contract: all that a device must provide, one line per kernel.
//
// Inputs are const Tensor&, outputs Tensor* of the right shape and dtype; the
// caller allocates. An output never overlaps an input unless a line says so.
// Kernels assign their outputs; those that add to them say "+=". Floating
// tensors of one call share a dtype unless said otherwise; bf16 is computed in
// float. Saved statistics (mean, rstd, lse, losses) are f32, or f64 for f64
// inputs ("stat" below). Optional tensors may be undefined. Results do not
// depend on the number of threads. B batch, T queries, S keys, H heads, K key
// and value heads, D head size, V vocabulary, R rows, C columns.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_KERNELS_H_
#define NEXTWORD_AUTOGRAD_KERNELS_KERNELS_H_

#include <cstdint>
#include <vector>

#include "autograd/kernels/kernel.h"
#include "autograd/kernels/kernel_arguments.h"
#include "autograd/tensor/philox.h"
#include "autograd/tensor/tensor.h"

namespace nextword::kernels {

#define NW_KERNEL(name, ...) \
  inline constinit Kernel<void(__VA_ARGS__)> name { #name }

// Values and copies.
NW_KERNEL(fill, Out y, double value);
NW_KERNEL(copy, In x, Out y);  // Converts; from eight bits, too.
NW_KERNEL(round_to_bf16, In x, const Rounding& rounding, Out y);  // Of f32.
NW_KERNEL(scale, In x, double a, Out y);                          // a x
NW_KERNEL(accumulate, In x, Out y);  // y += x; dtypes may differ.
// y[i] += x[i] of many small tensors, f32 (or f64), at once.
NW_KERNEL(accumulate_each, const std::vector<Tensor>& x,
          const std::vector<Tensor>& y);
// y += a x; a is one element of y's dtype, x's dtype may differ.
NW_KERNEL(accumulate_scaled, In a, In x, Out y);
NW_KERNEL(normal, Out y, RandomKey key, double std);  // N(0, std^2)

// Element by element; a and b broadcast to the shape of y.
NW_KERNEL(add, In a, In b, Out y);
NW_KERNEL(sub, In a, In b, Out y);
NW_KERNEL(mul, In a, In b, Out y);
NW_KERNEL(div, In a, In b, Out y);
NW_KERNEL(exp, In x, Out y);
NW_KERNEL(log, In x, Out y);
NW_KERNEL(sqrt, In x, Out y);
NW_KERNEL(tanh, In x, Out y);
NW_KERNEL(silu, In x, Out y);  // x sigmoid(x)
NW_KERNEL(silu_grad, In x, In dy, Out dx);
NW_KERNEL(gelu, In x, Out y);  // x Phi(x)
NW_KERNEL(gelu_grad, In x, In dy, Out dx);
NW_KERNEL(gelu_tanh, In x, Out y);  // GPT-2's approximation
NW_KERNEL(gelu_tanh_grad, In x, In dy, Out dx);
NW_KERNEL(swiglu, In x, Out y);  // [.., 2C] (gate, up) -> [.., C]
NW_KERNEL(swiglu_grad, In x, In dy, Out dx);
// Zeroes with probability p, scales the rest by 1 / (1 - p). The first
// dimension counts samples, key.sample is the first one's. Its own gradient.
NW_KERNEL(dropout, In x, double p, RandomKey key, Out y);

// Reductions.
// Sums what broadcasting repeated; of a bf16 x, y may be f32.
NW_KERNEL(sum_to, In x, Out y);
// Of chunks of kSquaresChunk elements; y f64 [ceil(n / kSquaresChunk)].
NW_KERNEL(sum_squares, In x, Out y);
NW_KERNEL(max_last, In x, Out y, Out index);     // [R, C] -> [R], i32 [R]
NW_KERNEL(scatter_last, In index, In x, Out y);  // y[r, index[r]] = x[r]

// Layout. A transpose of dimensions: y.dim(i) = x.dim(order[i]).
NW_KERNEL(permute, In x, const std::vector<int>& order, Out y);
// Copies `count` entries along `axis` between tensors of equal other sizes.
NW_KERNEL(copy_range, In x, int axis, int64_t from, Out y, int64_t to,
          int64_t count);

// Matrices, the last two dimensions; op(a) is a or its transpose. Leading
// dimensions equal, or none in b, which then serves all. y += with `add`. y of
// bf16 matrices may be f32.
NW_KERNEL(matmul, In a, bool ta, In b, bool tb, bool add, Out y);
// x w' + bias + residual: x [R, C], w [N, C]; bias [N] and residual [R, N]
// optional. Of bf16 x and w, y and bias may be f32; residual is of y's dtype.
NW_KERNEL(linear, In x, In w, In bias, In residual, Out y);
// pre = x w' + bias, y = gelu_tanh(pre), perhaps before pre is rounded; all of
// one dtype, but bias.
NW_KERNEL(linear_gelu_tanh, In x, In w, In bias, Out pre, Out y);
// Of linear, by weight and bias: dw = dy' x, or dw += with `add`; db, optional,
// is the sum of dy's rows. Of bf16 dy and x, dw and db may be f32.
NW_KERNEL(linear_grad, In dy, In x, bool add, Out dw, Out db);
// dpre = gelu_tanh_grad(pre, dy w): what comes through a linear after it.
NW_KERNEL(linear_gelu_tanh_grad, In dy, In w, In pre, Out dpre);

// Eight-bit floats, e4m3 or e5m2. The scale, f32 [1], that makes the largest
// |x| the dtype's largest number; not finite where x is not.
NW_KERNEL(quantization_scale, In x, DType to, Out scale);
// y = x (1 / scale), what is too large as the largest number, of x [R, C]; all
// else optional: yt its transpose; largest, f32 [1], becomes |x| where that is
// larger, above all where it is not a number; sum, f32 [C], of the rows of x.
NW_KERNEL(quantize, In x, In scale, Out y, Out yt, Out largest, Out sum);
// The same of gelu_tanh(pre) and gelu_tanh_grad(pre, dy), perhaps before they
// are rounded to a dtype in between.
NW_KERNEL(quantize_gelu_tanh, In pre, In scale, Out y, Out yt, Out largest);
NW_KERNEL(quantize_gelu_tanh_grad, In pre, In dy, In scale, Out dx, Out dxt,
          Out largest, Out sum);
// y = scale_a scale_b a b' + bias + addend: a [R, C] and b [N, C] eight-bit, y
// [R, N] f32 or bf16; bias [N] and addend, of y's dtype, optional. addend may
// be y. GPUs are slow where R, C and N are not multiples of 16.
NW_KERNEL(matmul_quantized, In a, In scale_a, In b, In scale_b, In bias,
          In addend, Out y);

// Rows of w [V, C] by ids (i32) -> [ids.., C], of w's dtype or f32; dw += in
// order of position, and may be f32 for bf16 dy.
NW_KERNEL(embedding, In w, In ids, Out y);
NW_KERNEL(embedding_grad, In ids, In dy, Out dw);

// Over the last dimension. weight, bias [C], bias optional, of any dtype; mean,
// rstd stat [R]; dx += with `add`, of what is rounded to its dtype first;
// rounded, optional, is an f32 dx in bf16; dparameters [2, C] of weight and
// bias, or [1, C]. y and dy of an f32 x may be bf16.
NW_KERNEL(layer_norm, In x, In weight, In bias, double epsilon, Out y, Out mean,
          Out rstd);
NW_KERNEL(layer_norm_grad, In x, In weight, In mean, In rstd, In dy, bool add,
          Out dx, Out rounded, Out dparameters);
NW_KERNEL(rms_norm, In x, In weight, double epsilon, Out y, Out rstd);
NW_KERNEL(rms_norm_grad, In x, In weight, In rstd, In dy, bool add, Out dx,
          Out rounded, Out dparameters);

// Over the last dimension.
NW_KERNEL(softmax, In x, Out y);
NW_KERNEL(softmax_grad, In y, In dy, Out dx);
// Scores [B, H, T, S] with masked keys taken as minus infinity.
NW_KERNEL(masked_softmax, In x, const AttentionMask& mask, Out y);

// Rotary positions (Su et al. 2021) on the first `heads` heads of x
// [B, T, W, D]; the others are copied. Turns the pair (i, i + D / 2) at
// position p by p theta^(-2i / D), or back when inverse.
NW_KERNEL(rope, In x, int64_t heads, double theta, int64_t first_position,
          bool inverse, Out y);

// softmax(scale q k') v, fused: H heads q [B, T], K heads k and v [B, S]; y
// [B, T, H, D]; lse stat [B, H, T], the logarithm of each row's sum. scale > 0.
// On a GPU, D is at most kMaxGpuHeadSize.
inline constexpr int64_t kMaxGpuHeadSize = 256;
NW_KERNEL(attention, const Heads& q, const Heads& k, const Heads& v,
          double scale, const AttentionMask& mask, Out y, Out lse);
// dq, dk, dv may be parts of one tensor.
NW_KERNEL(attention_grad, const Heads& q, const Heads& k, const Heads& v, In y,
          In lse, In dy, double scale, const AttentionMask& mask,
          const Heads& dq, const Heads& dk, const Heads& dv);

// logits [R, V], targets i32 [R]; losses, lse stat [R]. A negative target is
// ignored: its loss and gradient are 0. dlosses stat [R].
NW_KERNEL(cross_entropy, In logits, In targets, Out losses, Out lse);
NW_KERNEL(cross_entropy_grad, In logits, In targets, In lse, In dlosses,
          Out dlogits);
// Both in one pass, for losses that are summed: dlogits = softmax - one-hot, of
// logits' dtype, and then perhaps logits itself, or bf16. Uses up the logits
// (f32, f64).
NW_KERNEL(cross_entropy_with_grad, Out logits, In targets, Out losses,
          Out dlogits);

// Draws an id from each row of f32 logits [R, V]; ids i32 [R].
NW_KERNEL(sample, In logits, const SampleParams& params, Out ids);

// Optimizers, in place over any range of the flat f32 (or f64) buffers. They
// zero grad behind them, and also round param to copy (bf16, may be undefined),
// SGD to the nearest.
NW_KERNEL(adamw, Out param, Out grad, Out m, Out v, Out copy,
          const AdamWParams& params);
NW_KERNEL(sgd, Out param, Out grad, Out momentum, Out copy,
          double learning_rate, double beta, double weight_decay,
          double grad_scale);

#undef NW_KERNEL

}  // namespace nextword::kernels

namespace nextword {

// A new tensor of zeros.
Tensor Zeros(const Shape& shape, DType dtype, Device device = Device::Cpu());
Tensor ZerosLike(const Tensor& other);

// `x` itself when it has `dtype`, else a converted copy.
Tensor Cast(const Tensor& x, DType dtype);

// A new tensor with the elements of `x`.
Tensor Clone(const Tensor& x);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_KERNELS_KERNELS_H_

#include "autograd/kernels/composed.h"

namespace nextword::kernels::composed {
namespace {

// Cast, as a part of a kernel.
Tensor As(DType dtype, In x) {
  if (x.dtype() == dtype) return x;
  Tensor y = Empty(x.shape(), dtype, x.device());
  copy.AsPart(x, &y);
  return y;
}

}  // namespace

void LinearGeluTanh(In x, In w, In bias, Out pre, Out y) {
  linear.AsPart(x, w, bias, Tensor(), pre);
  gelu_tanh.AsPart(*pre, y);
}

void LinearGrad(In dy, In x, bool add, Out dw, Out db) {
  matmul.AsPart(dy, true, x, false, add, dw);
  if (db->defined()) sum_to.AsPart(dy, db);
}

void LinearGeluTanhGrad(In dy, In w, In pre, Out dpre) {
  Tensor dpost = EmptyLike(pre);
  matmul.AsPart(dy, false, w, false, false, &dpost);
  gelu_tanh_grad.AsPart(pre, dpost, dpre);
}

// Eight-bit floats are bf16, too, and so are exact.
void MatmulQuantized(In a, In scale_a, In b, In scale_b, In bias, In addend,
                     Out y) {
  Tensor sum = Empty(y->shape(), DType::kF32, y->device());
  matmul.AsPart(As(DType::kBF16, a), false, As(DType::kBF16, b), true, false,
                &sum);
  const auto combine = [&sum](const auto& kernel, const Tensor& with) {
    Tensor result = EmptyLike(sum);
    kernel.AsPart(sum, with, &result);
    sum = result;
  };
  Tensor scale = EmptyLike(scale_a);
  mul.AsPart(scale_a, scale_b, &scale);
  combine(mul, scale);
  if (bias.defined()) combine(add, As(DType::kF32, bias));
  if (addend.defined()) combine(add, As(DType::kF32, addend));
  copy.AsPart(sum, y);
}

void QuantizeGeluTanh(In pre, In scale, Out y, Out yt, Out largest) {
  Tensor post = EmptyLike(pre), none;
  gelu_tanh.AsPart(pre, &post);
  quantize.AsPart(post, scale, y, yt, largest, &none);
}

void QuantizeGeluTanhGrad(In pre, In dy, In scale, Out dx, Out dxt, Out largest,
                          Out sum) {
  Tensor dpre = EmptyLike(pre);
  gelu_tanh_grad.AsPart(pre, dy, &dpre);
  quantize.AsPart(dpre, scale, dx, dxt, largest, sum);
}

}  // namespace nextword::kernels::composed

// Matrix products: shapes and transposes here, arithmetic in gemm.
#include <type_traits>

#include "autograd/base/check.h"
#include "autograd/kernels/composed.h"
#include "autograd/kernels/cpu/gemm.h"
#include "autograd/kernels/kernels.h"

namespace nextword::kernels {
namespace {

int64_t NumMatrices(In x) {
  return x.shape().rank() == 2 ? 1 : x.shape().NumelBefore(-2);
}

// Calls f(T{}, U{}) with the types of inputs and result.
template <typename F>
void DispatchProduct(const char* op, DType inputs, DType result, const F& f) {
  DispatchFloat(inputs, op, [&](auto tag) {
    using T = decltype(tag);
    if (result == inputs) return f(T{}, T{});
    if constexpr (std::is_same_v<T, BFloat16>) {
      if (result == DType::kF32) return f(T{}, float{});
    }
    NW_CHECK(false) << op << " of " << inputs << " into " << result;
  });
}

void Matmul(In a, bool ta, In b, bool tb, bool add, Out y) {
  int64_t batch = NumMatrices(a);
  int64_t m = y->dim(-2);
  const int64_t n = y->dim(-1);
  const int64_t k = a.dim(ta ? -2 : -1);
  NW_CHECK_EQ(y->numel(), batch * a.dim(ta ? -1 : -2) * n)
      << "matmul of " << a << " and " << b << " into " << *y;
  const bool shared_b = b.shape().rank() == 2;
  if (shared_b && !ta) {
    m *= batch;
    batch = 1;
  }
  if (y->numel() == 0) return;
  DispatchProduct("matmul", a.dtype(), y->dtype(), [&](auto in, auto out) {
    using T = decltype(in);
    using U = decltype(out);
    NW_CHECK(!add || !(std::is_same_v<U, BFloat16>))
        << "matmul: sums are not kept in bf16";
    Gemm<T, U>(batch, m, n, k, {a.data<T>(), a.dim(-1), ta},
               a.dim(-1) * a.dim(-2), {b.data<T>(), b.dim(-1), tb},
               shared_b ? 0 : b.dim(-1) * b.dim(-2), y->data<U>(),
               {.itself = add});
  });
}

void Linear(In x, In w, In bias, In residual, Out y) {
  const int64_t m = x.dim(0), n = w.dim(0), k = x.dim(1);
  if (y->numel() == 0) return;
  DispatchProduct("linear", x.dtype(), y->dtype(), [&](auto in, auto out) {
    using T = decltype(in);
    using U = decltype(out);
    using C = ComputeType<U>;
    Addends<U> addends;
    Tensor wide_bias;
    if (bias.defined()) {
      wide_bias = Cast(bias, DTypeOf<C>::value);
      addends.bias = wide_bias.data<C>();
    }
    if (residual.defined()) addends.residual = residual.data<U>();
    Gemm<T, U>(1, m, n, k, {x.data<T>(), k, false}, 0, {w.data<T>(), k, true},
               0, y->data<U>(), addends);
  });
}

[[maybe_unused]] const bool registered =
    matmul.Register(DeviceType::kCpu, Matmul) &&
    linear.Register(DeviceType::kCpu, Linear) &&
    linear_gelu_tanh.Register(DeviceType::kCpu, composed::LinearGeluTanh) &&
    linear_grad.Register(DeviceType::kCpu, composed::LinearGrad) &&
    linear_gelu_tanh_grad.Register(DeviceType::kCpu,
                                   composed::LinearGeluTanhGrad) &&
    matmul_quantized.Register(DeviceType::kCpu, composed::MatmulQuantized);

}  // namespace
}  // namespace nextword::kernels

// Matrix products: shapes and transposes here, arithmetic in gemm.
#include "autograd/base/check.h"
#include "autograd/kernels/cpu/gemm.h"
#include "autograd/kernels/kernels.h"

namespace nextword::kernels {
namespace {

int64_t NumMatrices(In x) {
  return x.shape().rank() == 2 ? 1 : x.shape().NumelBefore(-2);
}

void Matmul(In a, bool ta, In b, bool tb, Out y) {
  int64_t batch = NumMatrices(a);
  int64_t m = y->dim(-2);
  const int64_t n = y->dim(-1);
  const int64_t k = a.dim(ta ? -2 : -1);
  const bool shared_b = b.shape().rank() == 2;
  if (shared_b && !ta) {
    m *= batch;
    batch = 1;
  }
  if (y->numel() == 0) return;
  DispatchFloat(a.dtype(), "matmul", [&](auto tag) {
    using T = decltype(tag);
    Gemm<T>(batch, m, n, k, {a.data<T>(), a.dim(-1), ta}, a.dim(-1) * a.dim(-2),
            {b.data<T>(), b.dim(-1), tb}, shared_b ? 0 : b.dim(-1) * b.dim(-2),
            y->data<T>());
  });
}

[[maybe_unused]] const bool registered =
    matmul.Register(DeviceType::kCpu, Matmul);

}  // namespace
}  // namespace nextword::kernels

#include "autograd/ops/activation.h"

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"

namespace nextword {

Variable Silu(const Variable& x) {
  Tensor y = EmptyLike(x.value());
  kernels::silu(x.value(), &y);
  return Record("silu", y, {x}, [x = x.value()](const Tensor& dy) {
    Tensor dx = EmptyLike(x);
    kernels::silu_grad(x, dy, &dx);
    return Gradients{dx};
  });
}

Variable Gelu(const Variable& x) {
  Tensor y = EmptyLike(x.value());
  kernels::gelu(x.value(), &y);
  return Record("gelu", y, {x}, [x = x.value()](const Tensor& dy) {
    Tensor dx = EmptyLike(x);
    kernels::gelu_grad(x, dy, &dx);
    return Gradients{dx};
  });
}

Variable GeluTanh(const Variable& x) {
  Tensor y = EmptyLike(x.value());
  kernels::gelu_tanh(x.value(), &y);
  return Record("gelu_tanh", y, {x}, [x = x.value()](const Tensor& dy) {
    Tensor dx = EmptyLike(x);
    kernels::gelu_tanh_grad(x, dy, &dx);
    return Gradients{dx};
  });
}

Variable Swiglu(const Variable& x) {
  NW_CHECK_EQ(x.dim(-1) % 2, 0) << "swiglu of " << x.value();
  Tensor y =
      Empty(x.shape().With(-1, x.dim(-1) / 2), x.dtype(), x.value().device());
  kernels::swiglu(x.value(), &y);
  return Record("swiglu", y, {x}, [x = x.value()](const Tensor& dy) {
    Tensor dx = EmptyLike(x);
    kernels::swiglu_grad(x, dy, &dx);
    return Gradients{dx};
  });
}

Variable Dropout(const Variable& x, double p, const RandomKey& key) {
  NW_CHECK(p >= 0 && p < 1) << "dropout with p = " << p;
  if (p == 0) return x;
  Tensor y = EmptyLike(x.value());
  kernels::dropout(x.value(), p, key, &y);
  return Record("dropout", y, {x}, [p, key](const Tensor& dy) {
    Tensor dx = EmptyLike(dy);
    kernels::dropout(dy, p, key, &dx);
    return Gradients{dx};
  });
}

}  // namespace nextword

#include "autograd/kernels/composed.h"

namespace nextword::kernels::composed {

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

}  // namespace nextword::kernels::composed

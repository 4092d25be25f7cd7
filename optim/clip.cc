#include "optim/clip.h"

#include <cmath>

#include "autograd/kernels/kernels.h"

namespace nextword {

double GlobalNorm(const Tensor& gradients) {
  Tensor sum = Empty({1}, DType::kF64, gradients.device());
  kernels::sum_squares(gradients, &sum);
  return std::sqrt(ToScalar<double>(sum));
}

double ClipFactor(double norm, double max_norm) {
  return max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0;
}

}  // namespace nextword

#include "optim/clip.h"

#include <cmath>

#include "autograd/kernels/kernels.h"

namespace nextword {

Tensor SquaresOf(const Tensor& gradients) {
  const int64_t chunks =
      (gradients.numel() + kernels::kSquaresChunk - 1) / kernels::kSquaresChunk;
  Tensor squares = Empty({chunks}, DType::kF64, gradients.device());
  kernels::sum_squares(gradients, &squares);
  return squares;
}

double NormOf(const Tensor& squares) {
  double sum = 0;
  for (double square : ToVector<double>(squares)) sum += square;
  return std::sqrt(sum);
}

double GlobalNorm(const Tensor& gradients) {
  return NormOf(SquaresOf(gradients));
}

double ClipFactor(double norm, double max_norm) {
  return max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0;
}

}  // namespace nextword

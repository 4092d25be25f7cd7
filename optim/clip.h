// Clipping by the global norm (Pascanu et al. 2013).
#ifndef NEXTWORD_OPTIM_CLIP_H_
#define NEXTWORD_OPTIM_CLIP_H_

#include "autograd/tensor/tensor.h"

namespace nextword {

// The L2 norm over all elements, summed in double: NormOf(SquaresOf(..)).
double GlobalNorm(const Tensor& gradients);

// Its parts: the sums of squares of chunks of kernels::kSquaresChunk elements,
// which several machines may share, f64 [ceil(n / kSquaresChunk)]; and the root
// of their sum, taken in their order.
Tensor SquaresOf(const Tensor& gradients);
double NormOf(const Tensor& squares);

// The factor that brings `norm` down to `max_norm`: min(1, max_norm / norm);
// 1 when max_norm is 0.
double ClipFactor(double norm, double max_norm);

}  // namespace nextword

#endif  // NEXTWORD_OPTIM_CLIP_H_

// Tensors to measure with: numbers of the size that training has. Processors
// run at other speeds on zeros. Functions of their arguments.
#ifndef NEXTWORD_TOOLS_COMMANDS_RANDOM_TENSOR_H_
#define NEXTWORD_TOOLS_COMMANDS_RANDOM_TENSOR_H_

#include <cstdint>

#include "autograd/tensor/tensor.h"

namespace nextword {

// N(0, std^2), of a floating-point dtype.
Tensor RandomNormal(const Shape& shape, DType dtype, uint64_t seed,
                    double std = 1);

// i32, uniform in [0, below).
Tensor RandomIds(const Shape& shape, int64_t below, uint64_t seed);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_RANDOM_TENSOR_H_

// How fast this machine multiplies matrices.
#ifndef NEXTWORD_DISTRIBUTED_MATMUL_PEAK_H_
#define NEXTWORD_DISTRIBUTED_MATMUL_PEAK_H_

#include "autograd/tensor/device.h"
#include "autograd/tensor/dtype.h"

namespace nextword {

// Floating-point operations per second of the best of several products of
// large matrices on all threads, measured for about `seconds`.
double MeasureMatmulPeak(DType dtype, Device device, double seconds);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_MATMUL_PEAK_H_

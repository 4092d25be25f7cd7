// How fast this machine multiplies matrices.
#ifndef NEXTWORD_DISTRIBUTED_MATMUL_PEAK_H_
#define NEXTWORD_DISTRIBUTED_MATMUL_PEAK_H_

#include "autograd/tensor/device.h"
#include "autograd/tensor/dtype.h"

namespace nextword {

// Floating-point operations per second of the best of several products of
// large matrices on all threads, measured for about `seconds`.
double MeasureMatmulPeak(DType dtype, Device device, double seconds);

// The same, measured for 0.3 seconds when it is first asked for with this
// dtype, device and number of threads. Thread-safe.
double MatmulPeak(DType dtype, Device device);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_MATMUL_PEAK_H_

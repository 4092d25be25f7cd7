// What a config's compute_dtype is to the code that computes.
#ifndef NEXTWORD_DISTRIBUTED_COMPUTE_DTYPE_H_
#define NEXTWORD_DISTRIBUTED_COMPUTE_DTYPE_H_

#include "autograd/tensor/dtype.h"
#include "configs/train_config.pb.h"

namespace nextword {

inline DType ComputeDTypeOf(const TrainConfig& config) {
  return config.compute_dtype() == BF16 ? DType::kBF16 : DType::kF32;
}

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COMPUTE_DTYPE_H_

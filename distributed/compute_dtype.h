// What a config's compute_dtype is to the code that computes.
#ifndef NEXTWORD_DISTRIBUTED_COMPUTE_DTYPE_H_
#define NEXTWORD_DISTRIBUTED_COMPUTE_DTYPE_H_

#include "autograd/kernels/matmul_precision.h"
#include "autograd/tensor/dtype.h"
#include "configs/train_config.pb.h"

namespace nextword {

// The dtype of matrices. FP8 rounds those of some products further.
inline DType ComputeDTypeOf(const TrainConfig& config) {
  const bool narrow =
      config.compute_dtype() == BF16 || config.compute_dtype() == FP8;
  return narrow ? DType::kBF16 : DType::kF32;
}

// Makes f32 products of this process, from now on, as exact as the config wants
// them: a process trains, or uses, one model.
inline void SetMatmulPrecision(const TrainConfig& config) {
  kernels::SetAllowTf32(config.compute_dtype() == TF32);
}

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COMPUTE_DTYPE_H_

// What a config's compute_dtype, and its determinism, are to the code that
// computes.
#ifndef NEXTWORD_DISTRIBUTED_COMPUTE_DTYPE_H_
#define NEXTWORD_DISTRIBUTED_COMPUTE_DTYPE_H_

#include <optional>

#include "autograd/kernels/numerics.h"
#include "autograd/tensor/dtype.h"
#include "configs/train_config.pb.h"

namespace nextword {

// The dtype to which linear layers round their gradients in training, where
// they multiply in eight bits.
inline std::optional<DType> QuantizedGradientsOf(const TrainConfig& config) {
  if (config.compute_dtype() == FP8) return DType::kE4M3;
  if (config.compute_dtype() == FP8_HYBRID) return DType::kE5M2;
  return std::nullopt;
}

// The dtype of matrices.
inline DType ComputeDTypeOf(const TrainConfig& config) {
  const bool narrow = config.compute_dtype() == BF16 ||
                      QuantizedGradientsOf(config).has_value();
  return narrow ? DType::kBF16 : DType::kF32;
}

// Makes kernels of this process, from now on, as exact and as deterministic as
// the config wants them: a process trains, or uses, one model.
inline void SetNumerics(const TrainConfig& config) {
  kernels::SetAllowTf32(config.compute_dtype() == TF32);
  kernels::SetDeterministic(config.deterministic());
}

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COMPUTE_DTYPE_H_

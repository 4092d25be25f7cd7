// How exactly f32 matrices are multiplied: a setting of the process.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_MATMUL_PRECISION_H_
#define NEXTWORD_AUTOGRAD_KERNELS_MATMUL_PRECISION_H_

#include <atomic>

namespace nextword::kernels {

namespace internal {
inline constinit std::atomic<bool> allow_tf32 = false;
}  // namespace internal

// Whether a GPU may round the f32 inputs of matmul and linear to TF32 (10 bits
// of fraction, sums in f32), which its matrix units take. Off at the start:
// IEEE f32. No other device and no other dtype heeds it. Thread-safe; holds for
// the calls that follow.
inline void SetAllowTf32(bool allow) { internal::allow_tf32 = allow; }
inline bool AllowTf32() { return internal::allow_tf32; }

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_MATMUL_PRECISION_H_

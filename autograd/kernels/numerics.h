// How exact results are, and whether they are the same each time: settings of
// the process, which hold for the calls that follow. Thread-safe.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_NUMERICS_H_
#define NEXTWORD_AUTOGRAD_KERNELS_NUMERICS_H_

#include <atomic>

namespace nextword::kernels {

namespace internal {
inline constinit std::atomic<bool> allow_tf32 = false;
inline constinit std::atomic<bool> deterministic = true;
}  // namespace internal

// Whether a GPU may round the f32 inputs of matmul and linear to TF32 (10 bits
// of fraction, sums in f32), which its matrix units take. Off at the start:
// IEEE f32. No other device and no other dtype heeds it.
inline void SetAllowTf32(bool allow) { internal::allow_tf32 = allow; }
inline bool AllowTf32() { return internal::allow_tf32; }

// Whether the same call gives the same bits each time. On at the start. If not,
// a GPU takes what its libraries have that is faster: kernels whose threads add
// in the order in which they come. A CPU has none such.
inline void SetDeterministic(bool on) { internal::deterministic = on; }
inline bool Deterministic() { return internal::deterministic; }

// On while it lives: of what all ranks compute, and have to have the same of.
class DeterministicScope {
 public:
  DeterministicScope() : before_(Deterministic()) { SetDeterministic(true); }
  ~DeterministicScope() { SetDeterministic(before_); }
  DeterministicScope(const DeterministicScope&) = delete;
  DeterministicScope& operator=(const DeterministicScope&) = delete;

 private:
  const bool before_;
};

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_NUMERICS_H_

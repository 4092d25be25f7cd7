// Attention in double by plain loops: for gradient checks, where accuracy
// counts and speed does not.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CPU_ATTENTION_F64_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CPU_ATTENTION_F64_H_

#include "autograd/kernels/kernels.h"

namespace nextword::kernels {

// As kernels::attention and kernels::attention_grad.
void AttentionF64(const Heads& q, const Heads& k, const Heads& v, double scale,
                  const AttentionMask& mask, Out y, Out lse);
void AttentionGradF64(const Heads& q, const Heads& k, const Heads& v, In y,
                      In lse, In dy, double scale, const AttentionMask& mask,
                      const Heads& dq, const Heads& dk, const Heads& dv);

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CPU_ATTENTION_F64_H_

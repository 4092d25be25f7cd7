// Attention by kernels of our own: the reference, and what serves where no
// library does. Shapes and dtypes as in kernels::attention; heads of at most
// 256 elements.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CUDA_PLAIN_ATTENTION_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CUDA_PLAIN_ATTENTION_H_

#include "autograd/kernels/kernels.h"

namespace nextword::kernels::cuda {

void PlainAttention(const Heads& q, const Heads& k, const Heads& v,
                    double scale, const AttentionMask& mask, Out y, Out lse);

void PlainAttentionGrad(const Heads& q, const Heads& k, const Heads& v, In y,
                        In lse, In dy, double scale, const AttentionMask& mask,
                        const Heads& dq, const Heads& dk, const Heads& dv);

}  // namespace nextword::kernels::cuda

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CUDA_PLAIN_ATTENTION_H_

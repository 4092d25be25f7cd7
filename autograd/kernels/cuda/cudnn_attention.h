// The contract's attention and attention_grad by cuDNN's fused kernels, whose
// bits are the same each time. Thread-safe.
//
// cuDNN takes bf16, heads of a multiple of 8 elements (up to a limit of its own
// for each GPU), all of the stored keys, and documents where there are as many
// queries as keys. The functions return an error that says why when it cannot
// compute what is asked for, or is not there (libcudnn.so.9 is loaded by the
// first call); outputs are then undefined. They CHECK that work which cuDNN
// accepted can be queued.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CUDA_CUDNN_ATTENTION_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CUDA_CUDNN_ATTENTION_H_

#include "absl/status/status.h"
#include "autograd/kernels/kernels.h"

namespace nextword::kernels::cuda {

absl::Status CudnnAttention(const Heads& q, const Heads& k, const Heads& v,
                            double scale, const AttentionMask& mask, Out y,
                            Out lse);

// Needs memory for B H T S bf16 scores, but no more than some 1 GiB or one
// sequence: what a fixed order of additions costs.
absl::Status CudnnAttentionGrad(const Heads& q, const Heads& k, const Heads& v,
                                In y, In lse, In dy, double scale,
                                const AttentionMask& mask, const Heads& dq,
                                const Heads& dk, const Heads& dv);

}  // namespace nextword::kernels::cuda

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CUDA_CUDNN_ATTENTION_H_

// In place of cudnn_attention.cc where cudnn-frontend's headers were missing.
#include "autograd/kernels/cuda/cudnn_attention.h"

namespace nextword::kernels::cuda {
namespace {

absl::Status Absent() {
  return absl::UnimplementedError("this program was built without cuDNN");
}

}  // namespace

absl::Status CudnnAttention(const Heads&, const Heads&, const Heads&, double,
                            const AttentionMask&, Out, Out) {
  return Absent();
}

absl::Status CudnnAttentionGrad(const Heads&, const Heads&, const Heads&, In,
                                In, In, double, const AttentionMask&,
                                const Heads&, const Heads&, const Heads&) {
  return Absent();
}

}  // namespace nextword::kernels::cuda

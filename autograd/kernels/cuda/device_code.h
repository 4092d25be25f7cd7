// Whether a GPU is one that this program's kernels were compiled for.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CUDA_DEVICE_CODE_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CUDA_DEVICE_CODE_H_

#include <cuda_runtime.h>

namespace nextword::kernels::cuda {

// Has the driver load a kernel for GPU `index`: an error when there is no code
// for it, or when it cannot be used at all.
cudaError_t LoadKernel(int index);

}  // namespace nextword::kernels::cuda

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CUDA_DEVICE_CODE_H_

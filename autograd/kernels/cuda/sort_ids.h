// Positions of a batch in order of their ids.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CUDA_SORT_IDS_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CUDA_SORT_IDS_H_

#include "autograd/tensor/tensor.h"

namespace nextword::kernels::cuda {

// i32 [n] each: ids in ascending order, and where each of them stood; equal ids
// in order of position.
struct SortedIds {
  Tensor ids, positions;
};

// Of `ids`, i32, on a GPU. At most 2^31 - 1 of them.
SortedIds SortIds(const Tensor& ids);

}  // namespace nextword::kernels::cuda

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CUDA_SORT_IDS_H_

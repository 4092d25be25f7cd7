#include "layers/kv_cache.h"

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"
#include "autograd/tensor/memory_label.h"

namespace nextword::layers {

KvCache::KvCache(const ModelConfig& model, int64_t batch, int64_t capacity,
                 DType dtype, Device device)
    : capacity_(capacity) {
  const Shape shape = {batch, capacity, model.kv_heads(), model.head_dim()};
  const MemoryLabel label("keys and values");
  for (int i = 0; i < model.layers(); ++i) {
    keys_.push_back(Zeros(shape, dtype, device));
    values_.push_back(Zeros(shape, dtype, device));
  }
}

void KvCache::Append(int64_t block, const Tensor& k, const Tensor& v) {
  NW_CHECK_LE(length_ + k.dim(1), capacity_) << "KvCache: full";
  kernels::copy_range(k, 1, 0, &keys_[block], length_, k.dim(1));
  kernels::copy_range(v, 1, 0, &values_[block], length_, v.dim(1));
}

}  // namespace nextword::layers

// Keys and values of the tokens that generation has already seen.
#ifndef NEXTWORD_LAYERS_KV_CACHE_H_
#define NEXTWORD_LAYERS_KV_CACHE_H_

#include <cstdint>
#include <vector>

#include "autograd/tensor/tensor.h"
#include "configs/train_config.pb.h"

namespace nextword::layers {

// Room for `capacity` tokens of `batch` sequences, per block. `model` is
// resolved (configs/model_config.h). Not thread-safe.
class KvCache {
 public:
  KvCache(const ModelConfig& model, int64_t batch, int64_t capacity,
          DType dtype, Device device);

  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }

  // Stores k, v [B, T, K, D] of a block behind the tokens that are there.
  // CHECKs that they fit. The block then attends to keys(block) and
  // values(block) [B, capacity, K, D], the first length() + T of them.
  void Append(int64_t block, const Tensor& k, const Tensor& v);
  const Tensor& keys(int64_t block) const { return keys_[block]; }
  const Tensor& values(int64_t block) const { return values_[block]; }

  // After all blocks have appended `tokens` tokens.
  void Advance(int64_t tokens) { length_ += tokens; }
  void Clear() { length_ = 0; }

 private:
  int64_t capacity_;
  int64_t length_ = 0;
  std::vector<Tensor> keys_, values_;
};

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_KV_CACHE_H_

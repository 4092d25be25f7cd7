#include "tools/commands/random_tensor.h"

#include "autograd/kernels/kernels.h"
#include "autograd/tensor/philox.h"

namespace nextword {

Tensor RandomNormal(const Shape& shape, DType dtype, uint64_t seed,
                    double std) {
  Tensor x = Empty(shape, DType::kF32);
  kernels::normal(&x, {.seed = seed}, std);
  return Cast(x, dtype);
}

Tensor RandomIds(const Shape& shape, int64_t below, uint64_t seed) {
  const Tensor ids = Empty(shape, DType::kI32);
  int32_t* const values = ids.data<int32_t>();
  PhiloxBlock words;
  for (int64_t i = 0; i < ids.numel(); ++i) {
    if (i % 4 == 0) {
      words = RandomWords({.seed = seed}, static_cast<uint32_t>(i / 4));
    }
    values[i] = static_cast<int32_t>(words.v[i % 4] % below);
  }
  return ids;
}

}  // namespace nextword

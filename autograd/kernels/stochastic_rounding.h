// Rounding to bf16 up or down, at random.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_STOCHASTIC_ROUNDING_H_
#define NEXTWORD_AUTOGRAD_KERNELS_STOCHASTIC_ROUNDING_H_

#include <bit>
#include <cstdint>

#include "autograd/base/host_device.h"
#include "autograd/tensor/dtype.h"
#include "autograd/tensor/philox.h"

namespace nextword::kernels {

// Of 16 of the word's random bits. What is not finite stays so.
NW_HOST_DEVICE BFloat16 RoundStochastically(float x, uint32_t word) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  // Below a neighbour in bf16, the bits that are dropped say how far it is.
  const uint32_t rounded = (bits + (word >> 16)) & 0xffff0000u;
  return BFloat16(finite ? std::bit_cast<float>(rounded) : x);
}

// Word `index` of a key's stream. By choices, for a GPU has no registers that
// an index could choose among.
NW_HOST_DEVICE uint32_t RandomWord(const RandomKey& key, int64_t index) {
  const PhiloxBlock words = RandomWords(key, static_cast<uint32_t>(index / 4));
  const uint32_t low = index % 2 == 0 ? words.v[0] : words.v[1];
  const uint32_t high = index % 2 == 0 ? words.v[2] : words.v[3];
  return index % 4 < 2 ? low : high;
}

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_STOCHASTIC_ROUNDING_H_

// Philox4x32-10: random numbers as a pure function of a key and a counter
// (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//
// No state: whoever knows (seed, step, sample, site) knows the numbers, so they
// do not depend on threads, ranks, interruptions or recomputation.
#ifndef NEXTWORD_AUTOGRAD_TENSOR_PHILOX_H_
#define NEXTWORD_AUTOGRAD_TENSOR_PHILOX_H_

#include <cstdint>

#include "autograd/base/host_device.h"

namespace nextword {

struct PhiloxBlock {
  uint32_t v[4];
};

// Four random words for a 128-bit counter and a 64-bit key.
NW_HOST_DEVICE PhiloxBlock Philox(PhiloxBlock counter, uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter.v[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter.v[2];
    counter = PhiloxBlock{{static_cast<uint32_t>(p1 >> 32) ^ counter.v[1] ^ k0,
                           static_cast<uint32_t>(p1),
                           static_cast<uint32_t>(p0 >> 32) ^ counter.v[3] ^ k1,
                           static_cast<uint32_t>(p0)}};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

// Names one stream of random numbers. Streams of different (seed, site, step,
// sample) are independent.
struct RandomKey {
  uint64_t seed = 0;
  uint64_t step = 0;    // Optimizer step.
  uint32_t site = 0;    // Place in the model, such as one dropout.
  uint32_t sample = 0;  // Sequence within the step.
};

// Words 4 * index to 4 * index + 3 of a key's stream.
NW_HOST_DEVICE PhiloxBlock RandomWords(const RandomKey& key, uint32_t index) {
  // The step goes into the key, spread by the golden ratio so that small seeds
  // and small steps do not meet.
  const uint64_t k = key.seed ^ (key.step * 0x9E3779B97F4A7C15ull);
  return Philox(PhiloxBlock{{index, key.sample, key.site,
                             static_cast<uint32_t>(key.step)}},
                k);
}

// A float in [0, 1), of 24 random bits.
NW_HOST_DEVICE float UniformFloat(uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1.0p-24f;
}

// A double in (0, 1], of 32 random bits: safe under a logarithm.
NW_HOST_DEVICE double UniformOpen(uint32_t word) {
  return (static_cast<double>(word) + 1.0) * 0x1.0p-32;
}

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_TENSOR_PHILOX_H_

// Choosing the next token from a model's scores.
#ifndef NEXTWORD_LAYERS_SAMPLER_H_
#define NEXTWORD_LAYERS_SAMPLER_H_

#include <cstdint>

#include "autograd/tensor/tensor.h"

namespace nextword::layers {

struct SamplerOptions {
  // Divides the logits; 0 takes the best token always.
  double temperature = 1.0;
  // Keep the k most probable tokens; 0 keeps all.
  int32_t top_k = 0;
  // Keep the fewest tokens whose probabilities together reach top_p (Holtzman
  // et al. 2020).
  double top_p = 1.0;
  uint64_t seed = 0;
};

// Token `position` of a text, from the distribution that softmax(logits /
// temperature) and the options leave; logits f32 [V], on any device. The same
// seed, position and logits give the same token. Equal logits rank by id.
// `limit` > 0 considers only ids below it (padding of a vocabulary is no
// token).
int32_t SampleToken(const Tensor& logits, const SamplerOptions& options,
                    uint64_t position, int32_t limit = 0);

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_SAMPLER_H_

// Text generation, token by token, with a KV cache.
#ifndef NEXTWORD_LAYERS_GENERATOR_H_
#define NEXTWORD_LAYERS_GENERATOR_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "layers/kv_cache.h"
#include "layers/sampler.h"
#include "layers/transformer.h"

namespace nextword::layers {

// Continues one sequence. Beyond the model's context it goes on with the last
// half of it as the new beginning. Not thread-safe; the model outlives it.
class Generator {
 public:
  // Ids from `vocab_size` on (padding of the embedding) are never chosen.
  Generator(const Transformer* model, int32_t vocab_size,
            const SamplerOptions& options);

  // Continues `prompt` (at least one id) by at most `count` tokens; hands each
  // to `emit`, which returns whether to go on.
  void Generate(const std::vector<int32_t>& prompt, int64_t count,
                const std::function<bool(int32_t)>& emit);

 private:
  // Reads `ids` behind what the cache holds and returns the token after them.
  int32_t Next(const std::vector<int32_t>& ids, uint64_t position);

  const Transformer* const model_;
  const int32_t vocab_size_;
  const SamplerOptions options_;
  KvCache cache_;
};

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_GENERATOR_H_

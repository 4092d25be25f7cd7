// What a forward pass carries besides the activations.
#ifndef NEXTWORD_LAYERS_FORWARD_CONTEXT_H_
#define NEXTWORD_LAYERS_FORWARD_CONTEXT_H_

#include <cstdint>
#include <string>

#include "autograd/tensor/philox.h"
#include "autograd/variable.h"
#include "layers/delayed_scales.h"
#include "layers/kv_cache.h"
#include "layers/tap.h"

namespace nextword::layers {

// All optional; the pointers are not owned and outlive the pass, and with
// recomputation its backward pass too.
struct ForwardContext {
  // Probability of dropping, 0 outside of training. `random` names the pass:
  // seed, step and the number of its first sequence within the step.
  double dropout = 0;
  RandomKey random = {};
  // Training: the linear layers of the blocks multiply in eight bits, by these.
  const DelayedScales* scales = nullptr;
  // i32 [B, T]: attention stays among tokens of an equal number.
  Tensor documents = {};
  // Generation: attend to the cached tokens before these.
  KvCache* cache = nullptr;
  Tap* tap = nullptr;

  // Position of the first token.
  int64_t first_position() const {
    return cache == nullptr ? 0 : cache->length();
  }
};

// The activation `prefix + name` as the tap wants it; `x` without a tap.
Variable Visit(const ForwardContext& context, const std::string& prefix,
               const char* name, const Variable& x);

// Whether the tap asks for `prefix + name`.
bool IsWanted(const ForwardContext& context, const std::string& prefix,
              const char* name);

// Dropout at the place `prefix + name` of the model.
Variable DropoutAt(const ForwardContext& context, const std::string& prefix,
                   const char* name, const Variable& x);

}  // namespace nextword::layers

#endif  // NEXTWORD_LAYERS_FORWARD_CONTEXT_H_

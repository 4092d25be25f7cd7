// What kernels take besides tensors and numbers (kernels.h).
#ifndef NEXTWORD_AUTOGRAD_KERNELS_KERNEL_ARGUMENTS_H_
#define NEXTWORD_AUTOGRAD_KERNELS_KERNEL_ARGUMENTS_H_

#include <cstdint>

#include "autograd/tensor/philox.h"
#include "autograd/tensor/tensor.h"

namespace nextword::kernels {

using In = const Tensor&;
using Out = Tensor*;

// Which keys a query may see. Query t of T stands at key position
// t + (keys - T): queries are the last of the keys.
struct AttentionMask {
  int64_t keys = 0;       // Valid keys, the first ones of S; 0 means all.
  int64_t window = 0;     // Keys seen, the query's own included; 0 means all.
  Tensor documents = {};  // Optional i32 [B, S]: only keys of an equal number.
};

// Heads [first, first + count) of data [B, T, W, D]: a part of a packed
// projection, or all of a tensor. A kernel writes to its output's elements.
struct Heads {
  Tensor data;
  int64_t first = 0;
  int64_t count = 0;

  // Of the data.
  double share() const {
    return static_cast<double>(count) / static_cast<double>(data.dim(2));
  }
};

// How floats become bf16: to the nearest or, stochastically, up or down, either
// as likely as the float is near to it, so that what is rounded again and again
// is right on average.
struct Rounding {
  bool stochastic = false;
  RandomKey key = {};
  int64_t first = 0;  // Number of the first element in the key's stream.
};

struct AdamWParams {
  double learning_rate, beta1, beta2, epsilon;
  double weight_decay;  // 0 for tensors that do not decay.
  double grad_scale;    // Multiplies the gradient: 1 / tokens, clipping.
  int64_t step;         // Counts from 1, for the bias correction.
  Rounding rounding = {};
};

// From softmax(logits / temperature); a temperature of 0 takes the best.
struct SampleParams {
  double temperature = 1;
  int64_t top_k = 0;  // The k best are kept, the first of equal ones; 0: all.
  double top_p = 1;   // Of these the fewest that weigh this share, or one.
  int64_t limit = 0;  // Only ids below it; 0: all.
  RandomKey key = {};
};

// Of sum_squares. Norms depend on it, and so do the pieces of ranks.
inline constexpr int64_t kSquaresChunk = 8192;

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_KERNEL_ARGUMENTS_H_

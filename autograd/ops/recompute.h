// Activation checkpointing: trade compute for memory.
#ifndef NEXTWORD_AUTOGRAD_OPS_RECOMPUTE_H_
#define NEXTWORD_AUTOGRAD_OPS_RECOMPUTE_H_

#include <functional>

#include "autograd/variable.h"

namespace nextword {

// function(input) without keeping what it computes on the way: backward calls
// it again (Chen et al. 2016). `function` must give the same result each time,
// which keyed randomness does; gradients of leaves that it uses inside
// accumulate as always. Same bits as calling it directly.
Variable Recompute(std::function<Variable(const Variable&)> function,
                   const Variable& input);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_RECOMPUTE_H_

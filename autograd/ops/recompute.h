// Activation checkpointing: trade compute for memory.
#ifndef NEXTWORD_AUTOGRAD_OPS_RECOMPUTE_H_
#define NEXTWORD_AUTOGRAD_OPS_RECOMPUTE_H_

#include <functional>

#include "autograd/variable.h"

namespace nextword {

// function(input) without keeping what it computes on the way: backward calls
// it again (Chen et al. 2016), but for a last matrix product, whose result
// nothing needs then. `function` must give the same result each time,
// which keyed randomness does. It may use other variables, leaves or not: they
// become inputs of the one op that the graph sees. Same bits as calling it
// directly, but for variables used both inside, twice or more, and outside:
// what they gather inside is summed first.
Variable Recompute(std::function<Variable(const Variable&)> function,
                   const Variable& input);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_RECOMPUTE_H_

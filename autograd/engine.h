// The engine: reverse-mode differentiation over a recorded graph.
#ifndef NEXTWORD_AUTOGRAD_ENGINE_H_
#define NEXTWORD_AUTOGRAD_ENGINE_H_

#include <vector>

#include "autograd/variable.h"

namespace nextword {

// Adds to the gradient of every leaf under `root` the derivative of
// sum(root * gradient); `gradient` has root's shape, and undefined means ones.
//
// Nodes run in reverse order of creation as soon as all their consumers have,
// leaves first, so a leaf is complete at the earliest moment, but for small
// ones, which are at the end; the order of additions is fixed. What a node
// saved is freed right after it ran: a graph serves one Backward, a second one
// is a CHECK failure.
void Backward(const Variable& root, Tensor gradient = Tensor());

// The derivatives of sum(root * gradient) by `inputs`, which are distinct.
// Adds nothing to them, calls no hooks of theirs and goes no further, so that
// the graph under them remains; other leaves are served as by Backward.
// Undefined for an input that `root` does not depend on, or whose gradient went
// into the sum that `uses` (one per input, or none at all) names for it.
Gradients Differentiate(const Variable& root, Tensor gradient,
                        const std::vector<Variable>& inputs,
                        const Vjp::Uses& uses = {});

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_ENGINE_H_

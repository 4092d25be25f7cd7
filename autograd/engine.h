// The engine: reverse-mode differentiation over a recorded graph.
#ifndef NEXTWORD_AUTOGRAD_ENGINE_H_
#define NEXTWORD_AUTOGRAD_ENGINE_H_

#include "autograd/variable.h"

namespace nextword {

// Adds to the gradient of every leaf under `root` the derivative of
// sum(root * gradient); `gradient` has root's shape, and undefined means ones.
//
// Nodes run in reverse order of creation as soon as all their consumers have,
// so a leaf is complete at the earliest moment and the order of additions is
// fixed. What a node saved is freed right after it ran: a graph serves one
// Backward, a second one is a CHECK failure.
void Backward(const Variable& root, Tensor gradient = Tensor());

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_ENGINE_H_

// Losses.
#ifndef NEXTWORD_AUTOGRAD_OPS_LOSS_H_
#define NEXTWORD_AUTOGRAD_OPS_LOSS_H_

#include "autograd/variable.h"

namespace nextword {

// -log softmax(logits)[target] of each row, in nats: logits [.., V], targets
// i32 [..]; result [..], f32 (f64 for f64 logits). A negative target is
// ignored: its loss and its gradient are 0. Gradient of a row's logits:
// (softmax - one-hot) times the row's.
Variable CrossEntropy(const Variable& logits, const Tensor& targets);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_LOSS_H_

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

// The sum of CrossEntropy(x weight', targets), as a model's head computes it: x
// [.., C], weight [V, C], targets i32 [..]; result [], f32 (f64 for f64 x).
//
// The logits [.., V] never exist as a whole: they are made, and with recording
// on turned into gradients of x and weight, for as many rows at a time as make
// up `chunk_logits` elements, ChunkLogits if that is 0.
Variable LinearCrossEntropy(const Variable& x, const Variable& weight,
                            const Tensor& targets, int64_t chunk_logits = 0);

// Each chunk adds to the gradient of weight once: the faster the products, the
// more that weighs, and the larger are chunks.
constexpr int64_t ChunkLogits(DeviceType device) {
  return int64_t{1} << (device == DeviceType::kCuda ? 28 : 26);
}

// Of a chunk, of `rows` in all.
int64_t LossChunkRows(int64_t rows, int64_t vocab, int64_t chunk_logits);

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_OPS_LOSS_H_

// One micro-batch of token ids, as the model takes it.
#ifndef NEXTWORD_DISTRIBUTED_BATCH_H_
#define NEXTWORD_DISTRIBUTED_BATCH_H_

#include <cstdint>

#include "autograd/tensor/tensor.h"
#include "layers/forward_context.h"
#include "layers/transformer.h"

namespace nextword {

// I32 [sequences, length] each; `documents` is undefined without a document
// mask. Negative targets are ignored.
struct Batch {
  Batch(int64_t sequences, int64_t length, bool with_documents,
        Device device = Device::Cpu());

  // Row `i` of each tensor, on the CPU; null for undefined documents.
  int32_t* input_row(int64_t i) { return Row(inputs, i); }
  int32_t* target_row(int64_t i) { return Row(targets, i); }
  int32_t* document_row(int64_t i) { return Row(documents, i); }

  int64_t CountTargets() const;

  Tensor inputs, targets, documents;

 private:
  static int32_t* Row(const Tensor& x, int64_t i);
};

// The sum of the losses of a batch, in nats, as a variable of shape [],
// computed where the model is.
Variable SumLoss(const layers::Transformer& model, const Batch& batch,
                 layers::ForwardContext context);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_BATCH_H_

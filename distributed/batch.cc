#include "distributed/batch.h"

#include <algorithm>

namespace nextword {

Batch::Batch(int64_t sequences, int64_t length, bool with_documents,
             Device device)
    : inputs(Empty({sequences, length}, DType::kI32, device)),
      targets(Empty({sequences, length}, DType::kI32, device)) {
  if (with_documents) {
    documents = Empty({sequences, length}, DType::kI32, device);
  }
}

int32_t* Batch::Row(const Tensor& x, int64_t i) {
  return x.defined() ? x.data<int32_t>() + i * x.dim(1) : nullptr;
}

int64_t Batch::CountTargets() const {
  const int32_t* const ids = targets.data<int32_t>();
  return std::count_if(ids, ids + targets.numel(),
                       [](int32_t id) { return id >= 0; });
}

Variable SumLoss(const layers::Transformer& model, const Batch& batch,
                 layers::ForwardContext context) {
  const Device device = model.device();
  if (batch.documents.defined()) {
    context.documents = ToDevice(batch.documents, device);
  }
  return model.SumLoss(ToDevice(batch.inputs, device),
                       ToDevice(batch.targets, device), context);
}

}  // namespace nextword

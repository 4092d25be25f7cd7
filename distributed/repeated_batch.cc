#include "distributed/repeated_batch.h"

#include <utility>

#include "autograd/kernels/kernels.h"
#include "autograd/tensor/allocator.h"

namespace nextword {

RepeatedBatch::RepeatedBatch(Device device,
                             std::function<Tensor(const Batch&)> compute)
    : device_(device),
      compute_(std::move(compute)),
      loss_(Empty({}, DType::kF32, device)),
      work_(device, [this] { kernels::copy(compute_(*batch_), &loss_); }) {}

Tensor RepeatedBatch::Run(const Batch& batch) {
  if (batch_ == nullptr) {
    batch_ = std::make_unique<Batch>(batch.inputs.dim(0), batch.inputs.dim(1),
                                     batch.documents.defined(), device_);
  }
  const auto bring = [&](const Tensor& from, const Tensor& to) {
    if (!from.defined()) return;
    AllocatorFor(device_).Upload(from.raw_data(), to.raw_data(),
                                 from.size_bytes());
  };
  bring(batch.inputs, batch_->inputs);
  bring(batch.targets, batch_->targets);
  bring(batch.documents, batch_->documents);
  work_.Run();
  return Clone(loss_);  // The next batch's takes its place.
}

}  // namespace nextword

// Gradients of one batch after the other, by work that a GPU can record.
#ifndef NEXTWORD_DISTRIBUTED_REPEATED_BATCH_H_
#define NEXTWORD_DISTRIBUTED_REPEATED_BATCH_H_

#include <functional>
#include <memory>

#include "autograd/tensor/device.h"
#include "autograd/tensor/repeated_work.h"
#include "autograd/tensor/tensor.h"
#include "distributed/batch.h"

namespace nextword {

// Keeps the batch where it computes, in the same memory each time. Not
// thread-safe.
class RepeatedBatch {
 public:
  // `compute` adds to the gradients those of a batch, which is on `device`, and
  // returns the sum of its losses, f32 []. All that it depends on besides is in
  // the same memory each time. It must not wait for the device.
  RepeatedBatch(Device device, std::function<Tensor(const Batch&)> compute);

  RepeatedBatch(const RepeatedBatch&) = delete;
  RepeatedBatch& operator=(const RepeatedBatch&) = delete;

  // The same for a batch on the CPU; all have the same shape.
  Tensor Run(const Batch& batch);

 private:
  const Device device_;
  const std::function<Tensor(const Batch&)> compute_;
  std::unique_ptr<Batch> batch_;  // Of the first's shape.
  Tensor loss_;
  RepeatedWork work_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_REPEATED_BATCH_H_

// What training takes of a rank's memory.
#ifndef NEXTWORD_DISTRIBUTED_TRAIN_MEMORY_H_
#define NEXTWORD_DISTRIBUTED_TRAIN_MEMORY_H_

#include "absl/status/status.h"
#include "autograd/tensor/device.h"
#include "configs/train_config.pb.h"
#include "layers/model_cost.h"

namespace nextword {

// Of each of `world_size` ranks, of `model`, resolved. Also for a device that
// is not here, for those who plan for one.
layers::TrainMemory EstimateRankMemory(const TrainConfig& config,
                                       const ModelConfig& model,
                                       int world_size);

// Error: `device` has less than that; it names the parts and what needs less.
absl::Status CheckMemory(const TrainConfig& config, const ModelConfig& model,
                         Device device, int world_size);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_TRAIN_MEMORY_H_

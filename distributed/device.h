// What a config's device is on this machine.
#ifndef NEXTWORD_DISTRIBUTED_DEVICE_H_
#define NEXTWORD_DISTRIBUTED_DEVICE_H_

#include "absl/status/statusor.h"
#include "autograd/tensor/device.h"
#include "configs/train_config.pb.h"

namespace nextword {

// AUTO is the first GPU, or the CPU where there is none, or, with a warning,
// none that this program can use. Error: CUDA, and the build or the machine has
// no such GPU.
absl::StatusOr<Device> DeviceOf(DeviceKind kind);

// Whether kernels of `device` take what `model`, resolved, asks of them. Error:
// they do not; names the field.
absl::Status CheckKernelsFor(const ModelConfig& model, Device device);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_DEVICE_H_

#include "tools/commands/checkpoint_options.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "distributed/device.h"

namespace nextword {

void CheckpointOptions::AddTo(CLI::App* command) {
  command
      ->add_option("--checkpoint", path_,
                   "A checkpoint's folder, or a run's for its newest")
      ->type_name("PATH")
      ->required();
  command
      ->add_option("--device", device_,
                   "AUTO, CPU or CUDA; AUTO is a GPU where there is one")
      ->type_name("KIND")
      ->capture_default_str();
  command->add_option("--threads", threads_, "0: one per processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

absl::StatusOr<TrainedModel> CheckpointOptions::Load() const {
  SetNumThreads(threads_);
  DeviceKind kind;
  if (!DeviceKind_Parse(absl::AsciiStrToUpper(device_), &kind)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--device is ", device_, ", wanted AUTO, CPU or CUDA"));
  }
  NW_ASSIGN_OR_RETURN(const Device device, DeviceOf(kind));
  return TrainedModel::Load(path_, device);
}

}  // namespace nextword

#include "tools/commands/checkpoint_options.h"

#include <map>

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
  const std::map<std::string, DeviceKind> kinds = {
      {"AUTO", AUTO}, {"CPU", CPU}, {"CUDA", CUDA}};
  command
      ->add_option("--device", device_,
                   "AUTO, CPU or CUDA; AUTO is a GPU where there is one")
      ->transform(CLI::CheckedTransformer(kinds, CLI::ignore_case))
      ->type_name("KIND");
  command->add_option("--threads", threads_, "0: one per processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

absl::StatusOr<TrainedModel> CheckpointOptions::Load() const {
  SetNumThreads(threads_);
  NW_ASSIGN_OR_RETURN(const Device device, DeviceOf(device_));
  return TrainedModel::Load(path_, device);
}

}  // namespace nextword

#include "configs/batch_config.h"

#include <bit>

#include "absl/strings/str_cat.h"

namespace nextword {

absl::Status CheckRanks(const BatchConfig& batch, int ranks) {
  if (ranks > 0 && std::has_single_bit(static_cast<unsigned>(ranks)) &&
      ranks <= batch.lanes()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "batch.lanes: is ", batch.lanes(), ", and the job has ", ranks,
      " ranks; wanted ranks that are a power of two and at most as many as "
      "lanes, which they divide"));
}

}  // namespace nextword

#include "distributed/stop_agreement.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"
#include "autograd/base/stop.h"
#include "distributed/rendezvous/activity.h"

namespace nextword {

absl::Status StopAgreement::Check() {
  const int64_t ranks = all_->world_size();
  if (ranks == 1) agreed_ = StopRequested();
  if (!agreed_ && under_way_.has_value()) {
    const ActivityScope activity("gather", "whether to stop",
                                 ActivityKind::kWaitsForOthers);
    NW_RETURN_IF_ERROR(under_way_->Wait());
    const int32_t* const asked = rows_.data<int32_t>();
    agreed_ = std::find(asked, asked + ranks, 1) != asked + ranks;
  }
  if (agreed_) return Agree();
  if (ranks == 1) return absl::OkStatus();
  const Tensor mine = Empty({1}, DType::kI32);
  *mine.data<int32_t>() = StopRequested() ? 1 : 0;
  rows_ = Empty({ranks, 1}, DType::kI32);
  under_way_ = all_->Gather(mine, rows_, "stop");
  return absl::OkStatus();
}

absl::Status StopAgreement::Agree() {
  agreed_ = true;
  const absl::Status mine = CheckStop();
  return mine.ok() ? absl::CancelledError("stopped with another rank") : mine;
}

}  // namespace nextword

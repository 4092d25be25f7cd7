// Where ranks stop together: each may be asked to stop at another moment, and
// none may leave the others waiting.
#ifndef NEXTWORD_DISTRIBUTED_STOP_AGREEMENT_H_
#define NEXTWORD_DISTRIBUTED_STOP_AGREEMENT_H_

#include <optional>

#include "absl/status/status.h"
#include "distributed/collectives/communicator.h"

namespace nextword {

// Not thread-safe.
class StopAgreement {
 public:
  // `all` outlives it.
  explicit StopAgreement(Communicator* all) : all_(all) {}

  // Collective. Cancelled once some rank has been asked to stop (base/stop.h),
  // on all ranks at the same call, and from then on. With several ranks that is
  // the call after the next: what they tell each other is under way while they
  // compute. Other errors: a rank is gone.
  absl::Status Check();

  // Whether some rank has been asked to, and all know it in another way than by
  // Check: what it was computing was interrupted. Returns Cancelled.
  absl::Status Agree();

  // Whether one of them has returned Cancelled.
  bool agreed() const { return agreed_; }

 private:
  Communicator* const all_;
  bool agreed_ = false;
  Tensor rows_;
  std::optional<Work> under_way_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_STOP_AGREEMENT_H_

// The norm of flat buffers of parameters' numbers, of which each rank may have
// no more than its pieces; and what of them is not finite.
#ifndef NEXTWORD_DISTRIBUTED_FLAT_NORM_H_
#define NEXTWORD_DISTRIBUTED_FLAT_NORM_H_

#include <string>

#include "absl/status/statusor.h"
#include "autograd/parameters.h"
#include "autograd/tensor/tensor.h"
#include "distributed/collectives/communicator.h"
#include "distributed/gradient_reducer.h"

namespace nextword {

// How much of a buffer a rank has.
enum class Has { kAll, kPieces };

// Where ranks have pieces, all make the same calls. Not thread-safe.
class FlatNorm {
 public:
  // The arguments outlive it; pieces are those of the reducer.
  FlatNorm(const Parameters* parameters, GradientReducer* reducer,
           Communicator* all)
      : parameters_(*parameters), reducer_(*reducer), all_(*all) {}

  // The L2 norm: infinite or no number when an element is. The same bits for
  // any number of ranks.
  absl::StatusOr<double> Of(const Tensor& flat, Has has) const;

  // The name of the first parameter that has an element in `flat` that is not
  // finite; empty if none has. All ranks make the call.
  absl::StatusOr<std::string> FirstNotFinite(const Tensor& flat, Has has) const;

 private:
  absl::StatusOr<Tensor> Squares(const Tensor& flat, Has has) const;

  const Parameters& parameters_;
  GradientReducer& reducer_;
  Communicator& all_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_FLAT_NORM_H_

// Weights of which each rank keeps its pieces only (ZeRO stage 3, Rajbhandari
// et al. 2020; FSDP), and fetches the others' while an op needs them.
//
// Of a matrix, a rank has its pieces (PieceOf each bucket of the flat buffers);
// what it fetched of the others goes back when it has not been used for a
// while. Which matrix comes next is known from the step before, so that it is
// on its way while the one before it is computed with. Vectors, biases and
// norms, are small and whole everywhere.
//
// All ranks must use the same parameters in the same order. Ops cannot return
// errors: after one, what they compute is of no use, and status() says why.
// Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_WEIGHT_SHARDS_H_
#define NEXTWORD_DISTRIBUTED_WEIGHT_SHARDS_H_

#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "autograd/parameters.h"
#include "distributed/collectives/communicator.h"
#include "optim/optimizer.h"

namespace nextword {

class WeightShards {
 public:
  // Matrices that are whole at once, the one that is on its way included.
  static constexpr int kMatrices = 6;

  // Hooks itself to the parameters, of which nothing is fetched before Share.
  // They and the communicator outlive it, and are not used after its end.
  WeightShards(std::vector<FlatRange> buckets, Parameters* parameters,
               Communicator* communicator);
  WeightShards(const WeightShards&) = delete;
  WeightShards& operator=(const WeightShards&) = delete;

  // Each rank's pieces have new values: what was fetched is of no use any more,
  // and vectors are exchanged. Collective.
  absl::Status Share();

  // Discards the others' pieces of a matrix. Before Share.
  void Discard(const Parameters::Entry& entry);

  // A step begins: its uses are those of the step before.
  void BeginStep();

  // The first error so far.
  absl::Status status() const { return status_; }

 private:
  struct Fetched {
    size_t entry;
    std::vector<Work> on_the_way;
  };

  void Use(size_t entry);
  std::optional<size_t> NextUse(size_t entry);
  void Fetch(size_t entry);
  std::vector<Work> Start(const FlatRange& range, const Tensor& flat);
  void Wait(Fetched* fetched);
  // The buffer that ops read matrices from.
  const Tensor& Matrices() const;

  const std::vector<FlatRange> buckets_;
  Parameters* const parameters_;
  Communicator* const communicator_;
  bool shared_ = false;
  std::list<Fetched> fetched_;            // The one used last first.
  std::vector<size_t> uses_, last_uses_;  // Of this step, and the one before.
  size_t place_ = 0;                      // In last_uses_.
  absl::Status status_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_WEIGHT_SHARDS_H_

// Named tensors as checkpoints have them: whole, though with sharding each rank
// has only its pieces of them.
//
// A value that refers to parts of a learner, which outlives it. Not
// thread-safe; where it says collective, all ranks make the same calls.
#ifndef NEXTWORD_DISTRIBUTED_SHARDED_TENSORS_H_
#define NEXTWORD_DISTRIBUTED_SHARDED_TENSORS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "autograd/parameters.h"
#include "distributed/collectives/rank_groups.h"
#include "distributed/safetensors.h"
#include "optim/optimizer.h"

namespace nextword {

// Fills `into`, flat, with the elements of a tensor from number `first` on.
using ElementReader = std::function<absl::Status(const std::string& name,
                                                 int64_t first, Tensor* into)>;

class ShardedTensors {
 public:
  // Tensors that every rank has.
  ShardedTensors(std::vector<NamedTensor> whole, const RankGroups& groups);

  // One per moment and parameter. `moments` are flat buffers of which this rank
  // has its pieces (PieceOf) of each of `buckets`, ascending.
  ShardedTensors(const Parameters& parameters, std::vector<Moment> moments,
                 std::vector<FlatRange> buckets, const RankGroups& groups);

  // Room in this machine's memory for a copy of what this rank needs to write,
  // with which Write can go on while the learner does, on another thread; it
  // puts pieces together over `groups`. Undefined until it is updated.
  ShardedTensors RoomForCopy(const RankGroups& groups) const;
  // Makes the system hand out that room now, until it is `enough`; by the page,
  // gigabytes take seconds.
  void Touch(const std::atomic<bool>& enough);
  // Makes room that was made for a copy of `live` equal to it.
  void Update(const ShardedTensors& live);

  // Declared only, where pieces must be put together.
  const std::vector<NamedTensor>& tensors() const { return tensors_; }

  // Hands the elements of one of tensors() to `sink`, in order. With pieces it
  // is collective, tensor after tensor in their order, and takes a bucket's
  // memory. The sink's error is returned, and does not keep others waiting.
  absl::Status Write(const NamedTensor& tensor, const ByteSink& sink);

  // Writes those that have not been written to nowhere: what the others do
  // while the lead saves, and the lead when it cannot.
  absl::Status WriteNowhere();

  // Collective: all ranks get what the lead reads; only it needs `read`.
  absl::Status Restore(const ElementReader& read);

 private:
  // Bucket `bucket` of moment `moment`, whole, on all ranks.
  absl::Status Gather(size_t moment, size_t bucket);
  absl::Status Spread(const Tensor& flat);
  absl::Status RestoreWhole(const ElementReader& read);
  absl::Status RestoreBucket(const ElementReader& read, const Moment& moment,
                             const FlatRange& bucket);

  // Of this rank's memory: whole tensors, or its parts of the moments.
  std::vector<Tensor*> Held();
  std::vector<const Tensor*> Held() const;

  bool whole_;
  bool copied_ = false;
  RankGroups groups_;
  const Parameters* parameters_ = nullptr;
  Device device_ = Device::Cpu();  // Of the parts.
  std::vector<Moment> moments_;
  std::vector<FlatRange> buckets_;
  std::vector<NamedTensor> tensors_;
  std::map<std::string, size_t> index_;  // In tensors_, by name.
  // The bucket that was gathered last.
  Tensor window_;
  size_t moment_ = 0;
  size_t bucket_ = 0;
  size_t next_ = 0;  // In tensors_, to be written.
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_SHARDED_TENSORS_H_

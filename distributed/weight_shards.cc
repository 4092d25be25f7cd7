#include "distributed/weight_shards.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "distributed/bucket_pieces.h"
#include "distributed/rendezvous/activity.h"

namespace nextword {
WeightShards::WeightShards(std::vector<FlatRange> buckets,
                           Parameters* parameters, Communicator* communicator)
    : buckets_(std::move(buckets)),
      parameters_(parameters),
      communicator_(communicator) {
  for (size_t i = 0; i < parameters->entries().size(); ++i) {
    const Parameters::Entry& entry = parameters->entries()[i];
    if (!entry.is_matrix()) continue;
    entry.variable.AddUseHook([this, i] {
      if (shared_) Use(i);
    });
  }
}

const Tensor& WeightShards::Matrices() const {
  const Tensor& copies = parameters_->copies();
  return copies.defined() ? copies : parameters_->values();
}

absl::Status WeightShards::Share() {
  shared_ = true;
  for (Fetched& fetched : fetched_) {
    Wait(&fetched);
    Discard(parameters_->entries()[fetched.entry]);
  }
  fetched_.clear();
  const std::vector<Work> works =
      Start(parameters_->vectors(), parameters_->values());
  const ActivityScope activity("all-gather", "vectors",
                               ActivityKind::kWaitsForOthers);
  for (const Work& work : works) {
    if (status_.ok()) status_ = work.Wait();
  }
  return status_;
}

void WeightShards::Discard(const Parameters::Entry& entry) {
  for (const FlatRange& bucket : buckets_) {
    const FlatRange part = Overlap(entry.range(), bucket);
    if (part.size() == 0) continue;
    const FlatRange mine = Overlap(
        part,
        PieceOf(bucket, communicator_->world_size(), communicator_->rank()));
    const Tensor& flat = Matrices();
    if (mine.size() == 0) {
      nextword::Discard(part.Of(flat));
      continue;
    }
    nextword::Discard(FlatRange{part.begin, mine.begin}.Of(flat));
    nextword::Discard(FlatRange{mine.end, part.end}.Of(flat));
  }
}

void WeightShards::BeginStep() {
  last_uses_ = std::exchange(uses_, {});
  place_ = 0;
}

void WeightShards::Use(size_t entry) {
  // An op's several uses of a matrix are one.
  if (!fetched_.empty() && fetched_.front().entry == entry) return;
  uses_.push_back(entry);
  Fetch(entry);
  Wait(&fetched_.front());
  const std::optional<size_t> next = NextUse(entry);
  if (!next.has_value() || *next == entry) return;
  Fetch(*next);
  // It is not used yet: the one in use stays the first.
  std::swap(*fetched_.begin(), *std::next(fetched_.begin()));
}

// What followed this use in the step before.
std::optional<size_t> WeightShards::NextUse(size_t entry) {
  const auto from = last_uses_.begin() + place_;
  const auto found = std::find(from, last_uses_.end(), entry);
  if (found == last_uses_.end()) return std::nullopt;
  const auto next = std::next(found);
  place_ = next - last_uses_.begin();
  return next == last_uses_.end() ? std::nullopt : std::optional(*next);
}

// Brings it to the front of fetched_.
void WeightShards::Fetch(size_t entry) {
  const auto found =
      std::find_if(fetched_.begin(), fetched_.end(),
                   [&](const Fetched& each) { return each.entry == entry; });
  if (found != fetched_.end()) {
    fetched_.splice(fetched_.begin(), fetched_, found);
    return;
  }
  // Room for it first.
  while (fetched_.size() >= kMatrices) {
    Wait(&fetched_.back());
    Discard(parameters_->entries()[fetched_.back().entry]);
    fetched_.pop_back();
  }
  const Parameters::Entry& matrix = parameters_->entries()[entry];
  fetched_.push_front({entry, Start(matrix.range(), Matrices())});
}

std::vector<Work> WeightShards::Start(const FlatRange& range,
                                      const Tensor& flat) {
  std::vector<Work> works;
  for (const FlatRange& bucket : buckets_) {
    const FlatRange part = Overlap(range, bucket);
    if (part.size() == 0) continue;
    std::vector<int64_t> sizes;
    for (int rank = 0; rank < communicator_->world_size(); ++rank) {
      sizes.push_back(
          Overlap(part, PieceOf(bucket, communicator_->world_size(), rank))
              .size());
    }
    works.push_back(communicator_->AllGather(part.Of(flat), std::move(sizes),
                                             "all-gather"));
  }
  return works;
}

void WeightShards::Wait(Fetched* fetched) {
  if (fetched->on_the_way.empty()) return;
  const ActivityScope activity("all-gather",
                               parameters_->entries()[fetched->entry].name,
                               ActivityKind::kWaitsForOthers);
  for (const Work& work : std::exchange(fetched->on_the_way, {})) {
    if (status_.ok()) status_ = work.Wait();
  }
}

}  // namespace nextword

#include "distributed/weight_shards.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "autograd/base/status.h"
#include "distributed/rendezvous/activity.h"

namespace nextword {
namespace {

// What two ranges have in common; not below 0 elements.
FlatRange Overlap(const FlatRange& a, const FlatRange& b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

int64_t Size(const FlatRange& range) { return range.end - range.begin; }

FlatRange RangeOf(const Parameters::Entry& entry) {
  return {entry.offset, entry.offset + entry.numel()};
}

Tensor ViewOf(const Tensor& flat, const FlatRange& range) {
  return flat.View(range.begin, {Size(range)});
}

FlatRange PieceOfBucket(const FlatRange& bucket, int world_size, int rank) {
  const Piece piece = PieceOf(Size(bucket), world_size, rank);
  return {bucket.begin + piece.begin, bucket.begin + piece.end};
}

}  // namespace

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

const Tensor& WeightShards::FlatOf(const Parameters::Entry& entry) const {
  const bool narrow = entry.is_matrix() && parameters_->copies().defined();
  return narrow ? parameters_->copies() : parameters_->values();
}

absl::Status WeightShards::Share() {
  shared_ = true;
  for (Fetched& fetched : fetched_) {
    Wait(&fetched);
    Discard(parameters_->entries()[fetched.entry]);
  }
  fetched_.clear();
  std::vector<Work> works;
  for (const Parameters::Entry& entry : parameters_->entries()) {
    if (entry.is_matrix()) continue;
    for (Work& work : Start(entry)) works.push_back(std::move(work));
  }
  for (const Work& work : works) {
    if (status_.ok()) status_ = work.Wait();
  }
  return status_;
}

void WeightShards::Discard(const Parameters::Entry& entry) {
  for (const FlatRange& bucket : buckets_) {
    const FlatRange part = Overlap(RangeOf(entry), bucket);
    if (Size(part) == 0) continue;
    const FlatRange mine =
        Overlap(part, PieceOfBucket(bucket, communicator_->world_size(),
                                    communicator_->rank()));
    const Tensor& flat = FlatOf(entry);
    if (Size(mine) == 0) {
      nextword::Discard(ViewOf(flat, part));
      continue;
    }
    nextword::Discard(ViewOf(flat, {part.begin, mine.begin}));
    nextword::Discard(ViewOf(flat, {mine.end, part.end}));
  }
}

void WeightShards::BeginStep() {
  last_uses_ = std::exchange(uses_, {});
  place_ = 0;
}

void WeightShards::Use(size_t entry) {
  // Most uses follow one of the same.
  if (!fetched_.empty() && fetched_.front().entry == entry) return;
  uses_.push_back(entry);
  Fetch(entry);
  Wait(&fetched_.front());
  if (const std::optional<size_t> next = NextUse(entry)) {
    Fetch(*next);
    // It is not used yet: the one in use stays the first.
    std::swap(*fetched_.begin(), *std::next(fetched_.begin()));
  }
  while (fetched_.size() > kMatrices) {
    Wait(&fetched_.back());
    Discard(parameters_->entries()[fetched_.back().entry]);
    fetched_.pop_back();
  }
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
  fetched_.push_front({entry, Start(parameters_->entries()[entry])});
}

std::vector<Work> WeightShards::Start(const Parameters::Entry& entry) {
  std::vector<Work> works;
  for (const FlatRange& bucket : buckets_) {
    const FlatRange part = Overlap(RangeOf(entry), bucket);
    if (Size(part) == 0) continue;
    std::vector<int64_t> sizes;
    for (int rank = 0; rank < communicator_->world_size(); ++rank) {
      sizes.push_back(Size(Overlap(
          part, PieceOfBucket(bucket, communicator_->world_size(), rank))));
    }
    works.push_back(communicator_->AllGather(ViewOf(FlatOf(entry), part),
                                             std::move(sizes), "all-gather"));
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

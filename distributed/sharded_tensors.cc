#include "distributed/sharded_tensors.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/check.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "autograd/kernels/kernels.h"
#include "autograd/tensor/allocator.h"
#include "distributed/rendezvous/activity.h"

namespace nextword {
namespace {

// Elements `range` of a tensor that begins at `begin` of the flat buffer.
Tensor PartOf(const Tensor& tensor, int64_t begin, const FlatRange& range) {
  return tensor.View(range.begin - begin, {range.size()});
}

FlatRange RangeOf(const Moment::Part& part) {
  return {part.begin, part.begin + part.values.numel()};
}

// Elements that a thread copies at a time.
constexpr int64_t kCopyBytes = int64_t{1} << 21;

void CopyToHost(const Tensor& from, Tensor* to) {
  NW_CHECK_EQ(from.size_bytes(), to->size_bytes());
  if (from.device() != Device::Cpu()) {
    AllocatorFor(from.device())
        .Download(from.raw_data(), to->raw_data(), from.size_bytes());
    return;
  }
  ParallelFor(from.size_bytes(), kCopyBytes, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char*>(to->raw_data()) + begin,
                static_cast<const char*>(from.raw_data()) + begin, end - begin);
  });
}

// Memory of gigabytes that is new takes seconds to fill in small pages.
void PreferLargePages(const Tensor& tensor) {
  constexpr uintptr_t kPage = uintptr_t{1} << 21;
  const auto begin = reinterpret_cast<uintptr_t>(tensor.raw_data());
  const uintptr_t end = (begin + tensor.size_bytes()) / kPage * kPage;
  const uintptr_t first = (begin + kPage - 1) / kPage * kPage;
  // Only a wish: it is as good without.
  if (first < end) {
    madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
  }
}

std::string NameOf(const Moment& moment, const Parameters::Entry& entry) {
  return moment.name.empty() ? entry.name
                             : absl::StrCat(moment.name, ".", entry.name);
}

}  // namespace

ShardedTensors::ShardedTensors(std::vector<NamedTensor> whole,
                               const RankGroups& groups)
    : whole_(true), groups_(groups), tensors_(std::move(whole)) {}

ShardedTensors::ShardedTensors(const Parameters& parameters,
                               std::vector<Moment> moments,
                               std::vector<FlatRange> buckets,
                               const RankGroups& groups)
    : whole_(false),
      groups_(groups),
      parameters_(&parameters),
      device_(parameters.values().device()),
      moments_(std::move(moments)),
      buckets_(std::move(buckets)) {
  for (const Moment& moment : moments_) {
    for (const Parameters::Entry& entry : parameters.entries()) {
      const std::string name = NameOf(moment, entry);
      index_[name] = tensors_.size();
      tensors_.push_back({name, Tensor::Declared(entry.shape(), DType::kF32)});
    }
  }
}

std::vector<const Tensor*> ShardedTensors::Held() const {
  std::vector<const Tensor*> held;
  if (whole_) {
    for (const NamedTensor& named : tensors_) held.push_back(&named.tensor);
  }
  for (const Moment& moment : moments_) {
    for (const Moment::Part& part : moment.parts) held.push_back(&part.values);
  }
  return held;
}

std::vector<Tensor*> ShardedTensors::Held() {
  std::vector<Tensor*> held;
  for (const Tensor* tensor : std::as_const(*this).Held()) {
    held.push_back(const_cast<Tensor*>(tensor));
  }
  return held;
}

ShardedTensors ShardedTensors::RoomForCopy(const RankGroups& groups) const {
  ShardedTensors copy = *this;
  copy.copied_ = true;
  copy.groups_ = groups;
  copy.device_ = Device::Cpu();
  // Whole tensors are the lead's to write.
  if (whole_ && groups_.all->rank() != 0) copy.tensors_.clear();
  for (Tensor* tensor : copy.Held()) {
    *tensor = Empty(tensor->shape(), tensor->dtype());
    PreferLargePages(*tensor);
  }
  return copy;
}

void ShardedTensors::Touch(const std::atomic<bool>& enough) {
  NW_CHECK(copied_) << "the learner's own tensors are not to be changed";
  for (Tensor* tensor : Held()) {
    char* const data = static_cast<char*>(tensor->raw_data());
    const int64_t size = tensor->size_bytes();
    for (int64_t i = 0; i < size && !enough; i += kCopyBytes) {
      std::memset(data + i, 0, std::min(kCopyBytes, size - i));
    }
  }
}

void ShardedTensors::Update(const ShardedTensors& live) {
  const std::vector<Tensor*> mine = Held();
  if (mine.empty()) return;
  const std::vector<const Tensor*> theirs = live.Held();
  NW_CHECK_EQ(mine.size(), theirs.size());
  for (size_t i = 0; i < mine.size(); ++i) CopyToHost(*theirs[i], mine[i]);
}

absl::Status ShardedTensors::Gather(size_t moment, size_t bucket) {
  if (window_.defined() && moment == moment_ && bucket == bucket_) {
    return absl::OkStatus();
  }
  const FlatRange range = buckets_[bucket];
  window_ = Empty({range.size()}, DType::kF32, device_);
  moment_ = moment;
  bucket_ = bucket;
  for (const Moment::Part& part : moments_[moment].parts) {
    const FlatRange mine = Overlap(RangeOf(part), range);
    if (mine.size() == 0) continue;
    Tensor to = PartOf(window_, range.begin, mine);
    kernels::copy(PartOf(part.values, part.begin, mine), &to);
  }
  // What a copy does is not what the process is doing.
  std::optional<ActivityScope> activity;
  if (!copied_) {
    activity.emplace("all-gather", "save", ActivityKind::kWaitsForOthers);
  }
  return groups_.shards->AllGather(window_, "save").Wait();
}

absl::Status ShardedTensors::Write(const NamedTensor& tensor,
                                   const ByteSink& sink) {
  const auto hand_over = [&](const Tensor& elements) {
    const Tensor here = ToDevice(elements, Device::Cpu());
    return sink({static_cast<const char*>(here.raw_data()),
                 static_cast<size_t>(here.size_bytes())});
  };
  if (whole_) return hand_over(tensor.tensor);
  const auto found = index_.find(tensor.name);
  NW_CHECK(found != index_.end()) << tensor.name;
  const size_t index = found->second;
  const size_t entries = parameters_->entries().size();
  const FlatRange wanted = parameters_->entries()[index % entries].range();
  absl::Status handed_over;
  for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    const FlatRange range = buckets_[bucket];
    const FlatRange part = Overlap(wanted, range);
    if (part.size() == 0) continue;
    NW_RETURN_IF_ERROR(Gather(index / entries, bucket));
    if (!handed_over.ok()) continue;
    handed_over = hand_over(PartOf(window_, range.begin, part));
  }
  next_ = index + 1;
  if (next_ == tensors_.size()) window_ = Tensor();
  return handed_over;
}

absl::Status ShardedTensors::WriteNowhere() {
  if (whole_) return absl::OkStatus();
  while (next_ < tensors_.size()) {
    NW_RETURN_IF_ERROR(Write(
        tensors_[next_], [](absl::string_view) { return absl::OkStatus(); }));
  }
  return absl::OkStatus();
}

absl::Status ShardedTensors::Restore(const ElementReader& read) {
  if (whole_) return RestoreWhole(read);
  for (const Moment& moment : moments_) {
    for (const FlatRange& bucket : buckets_) {
      NW_RETURN_IF_ERROR(RestoreBucket(read, moment, bucket));
    }
  }
  return absl::OkStatus();
}

// What the lead has, to all.
absl::Status ShardedTensors::Spread(const Tensor& flat) {
  const ActivityScope activity("broadcast", "restore",
                               ActivityKind::kWaitsForOthers);
  return groups_.all->Broadcast(flat, 0, "restore").Wait();
}

absl::Status ShardedTensors::RestoreWhole(const ElementReader& read) {
  for (const NamedTensor& named : tensors_) {
    Tensor flat = named.tensor.Reshape({named.tensor.numel()});
    if (groups_.all->rank() == 0) {
      NW_RETURN_IF_ERROR(read(named.name, 0, &flat));
    }
    NW_RETURN_IF_ERROR(Spread(flat));
  }
  return absl::OkStatus();
}

absl::Status ShardedTensors::RestoreBucket(const ElementReader& read,
                                           const Moment& moment,
                                           const FlatRange& bucket) {
  const Tensor window =
      Empty({bucket.size()}, DType::kF32, parameters_->values().device());
  for (const Parameters::Entry& entry : parameters_->entries()) {
    const FlatRange part = Overlap(entry.range(), bucket);
    if (groups_.all->rank() != 0 || part.size() == 0) continue;
    Tensor elements = PartOf(window, bucket.begin, part);
    NW_RETURN_IF_ERROR(
        read(NameOf(moment, entry), part.begin - entry.offset, &elements));
  }
  NW_RETURN_IF_ERROR(Spread(window));
  for (const Moment::Part& part : moment.parts) {
    const FlatRange mine = Overlap(RangeOf(part), bucket);
    if (mine.size() == 0) continue;
    Tensor values = PartOf(part.values, part.begin, mine);
    kernels::copy(PartOf(window, bucket.begin, mine), &values);
  }
  return absl::OkStatus();
}

}  // namespace nextword

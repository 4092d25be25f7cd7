#include "distributed/gradient_reducer.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/check.h"
#include "autograd/base/status.h"
#include "autograd/kernels/kernels.h"
#include "autograd/tensor/memory_label.h"
#include "distributed/bucket_pieces.h"
#include "distributed/rendezvous/activity.h"

namespace nextword {
namespace {

bool IsPowerOfTwo(int x) { return x > 0 && std::has_single_bit(unsigned(x)); }

// The sum of losses[begin, end) along the tree.
LossSum SumTree(const std::vector<LossSum>& losses, size_t begin, size_t end) {
  if (end - begin == 1) return losses[begin];
  const size_t middle = begin + (end - begin) / 2;
  LossSum sum = SumTree(losses, begin, middle);
  sum.Add(SumTree(losses, middle, end));
  return sum;
}

// Buckets on their way at once, where memory is short.
constexpr size_t kBucketsAtOnce = 2;

}  // namespace

GradientReducer::GradientReducer(const Options& options, Parameters* parameters,
                                 const RankGroups& groups)
    : lanes_(options.lanes / groups.all->world_size()),
      result_(options.result),
      parameters_(parameters),
      groups_(groups) {
  NW_CHECK(IsPowerOfTwo(options.lanes) && IsPowerOfTwo(lanes_) &&
           lanes_ * groups.all->world_size() == options.lanes)
      << options.lanes << " lanes on " << groups.all->world_size() << " ranks";
  // Buckets begin at multiples of the unit of pieces, see there.
  const int64_t size =
      std::max<int64_t>(1, options.bucket_elements / kPieceUnit) * kPieceUnit;
  for (int64_t begin = 0; begin < parameters->numel(); begin += size) {
    buckets_.push_back({{begin, std::min(begin + size, parameters->numel())}});
  }
  std::reverse(buckets_.begin(), buckets_.end());
  for (const Parameters::Entry& entry : parameters->entries()) {
    entry.variable.AddAccumulatedHook([this, &entry] {
      if (sending_) FinishParameter(entry);
    });
  }
}

int GradientReducer::Buffers(int lanes) {
  return std::bit_width(static_cast<unsigned>(lanes));
}

int GradientReducer::LaneOf(int i) const {
  return result_ == ReducedGradients::kPiecesOnly
             ? i * groups_.all->world_size() + groups_.all->rank()
             : groups_.all->rank() * lanes_ + i;
}

void GradientReducer::BeforeLastBackward() {
  const int lane = static_cast<int>(losses_.size());
  sending_ = result_ == ReducedGradients::kPiecesOnly || lane + 1 == lanes_;
  if (!sending_) return;
  for (Bucket& bucket : buckets_) bucket.unfinished = 0;
  for (const Parameters::Entry& entry : parameters_->entries()) {
    for (Bucket& bucket : buckets_) {
      if (Overlap(entry.range(), bucket.range).size() > 0) {
        ++bucket.unfinished;
      }
    }
  }
}

void GradientReducer::FinishParameter(const Parameters::Entry& entry) {
  for (Bucket& bucket : buckets_) {
    if (Overlap(entry.range(), bucket.range).size() > 0) --bucket.unfinished;
  }
  SendReady();
}

// In one order on all ranks, whatever order buckets are ready in.
void GradientReducer::SendReady() {
  while (sent_.size() < buckets_.size() &&
         buckets_[sent_.size()].unfinished <= 0) {
    Send(buckets_[sent_.size()]);
  }
}

void GradientReducer::Send(const Bucket& bucket) {
  const Tensor sum = bucket.range.Of(parameters_->gradients());
  if (result_ == ReducedGradients::kPiecesOnly) {
    // Backward must not run ahead of what others still have to take.
    if (sent_.size() >= kBucketsAtOnce) {
      const ActivityScope activity("reduce-scatter", "in backward",
                                   ActivityKind::kWaitsForOthers);
      sent_[sent_.size() - kBucketsAtOnce].Wait().IgnoreError();
    }
  } else {
    Tensor to = sum;
    for (auto left = waiting_.rbegin(); left != waiting_.rend(); ++left) {
      kernels::accumulate(bucket.range.Of(left->gradients), &to);
    }
  }
  sent_.push_back(result_ == ReducedGradients::kWhole
                      ? groups_.all->AllReduce(sum, "all-reduce")
                      : groups_.shards->ReduceScatter(sum, "reduce-scatter"));
}

// Parameters that the model does not use have no gradient to wait for.
void GradientReducer::SendRest() {
  for (Bucket& bucket : buckets_) bucket.unfinished = 0;
  SendReady();
  sending_ = false;
}

absl::Status GradientReducer::WaitForSent() {
  const std::vector<Work> sent = std::exchange(sent_, {});
  for (size_t i = 0; i < sent.size(); ++i) {
    const ActivityScope activity(
        result_ == ReducedGradients::kWhole ? "all-reduce" : "reduce-scatter",
        absl::StrCat("bucket ", i), ActivityKind::kWaitsForOthers);
    NW_RETURN_IF_ERROR(sent[i].Wait());
  }
  return absl::OkStatus();
}

void GradientReducer::FinishLane(const LossSum& loss) {
  losses_.push_back(loss);
  if (result_ == ReducedGradients::kPiecesOnly) {
    SendRest();
    if (error_.ok()) error_ = WaitForSent();
    KeepPieces();
  } else if (static_cast<int>(losses_.size()) < lanes_) {
    KeepWhole();
  }
}

// Takes the lane into the tree.
void GradientReducer::KeepWhole() {
  Tensor sum = parameters_->gradients();
  int lanes = 1;
  while (!waiting_.empty() && waiting_.back().lanes == lanes) {
    kernels::accumulate(waiting_.back().gradients, &sum);
    waiting_.pop_back();
    lanes *= 2;
  }
  const MemoryLabel label("gradients");
  waiting_.push_back({lanes, Clone(sum)});
  parameters_->ZeroGradients();
}

// Takes the pieces of the sum over the lanes of all ranks into the tree; after
// the last, leaves those of the whole sum in the gradients.
void GradientReducer::KeepPieces() {
  if (static_cast<int>(losses_.size()) == lanes_) {
    for (auto left = waiting_.rbegin(); left != waiting_.rend(); ++left) {
      AddPacked(left->gradients);
    }
    return;
  }
  const MemoryLabel label("gradients");
  Tensor sum = MovePieces();
  int lanes = 1;
  while (!waiting_.empty() && waiting_.back().lanes == lanes) {
    kernels::accumulate(waiting_.back().gradients, &sum);
    waiting_.pop_back();
    lanes *= 2;
  }
  waiting_.push_back({lanes, sum});
}

// This rank's pieces of the gradients, one after the other; leaves none.
Tensor GradientReducer::MovePieces() {
  int64_t size = 0;
  for (const FlatRange& piece : pieces()) size += piece.size();
  const Tensor& gradients = parameters_->gradients();
  const Tensor packed = Empty({size}, gradients.dtype(), gradients.device());
  int64_t offset = 0;
  for (const FlatRange& piece : pieces()) {
    const Tensor from = piece.Of(gradients);
    Tensor to = packed.View(offset, from.shape());
    kernels::copy(from, &to);
    Discard(from);
    offset += from.numel();
  }
  return packed;
}

// Adds what MovePieces has made to the pieces.
void GradientReducer::AddPacked(const Tensor& packed) {
  int64_t offset = 0;
  for (const FlatRange& piece : pieces()) {
    Tensor to = piece.Of(parameters_->gradients());
    kernels::accumulate(packed.View(offset, to.shape()), &to);
    offset += to.numel();
  }
}

absl::StatusOr<LossSum> GradientReducer::Finish() {
  NW_CHECK_EQ(static_cast<int>(losses_.size()), lanes_) << "lanes are missing";
  if (result_ != ReducedGradients::kPiecesOnly) {
    SendRest();
    error_ = WaitForSent();
  }
  waiting_.clear();
  NW_RETURN_IF_ERROR(std::exchange(error_, absl::OkStatus()));
  return SumLosses();
}

absl::StatusOr<LossSum> GradientReducer::SumLosses() {
  const ActivityScope activity("all-reduce", "loss",
                               ActivityKind::kWaitsForOthers);
  const std::vector<LossSum> mine = std::exchange(losses_, {});
  const int ranks = groups_.all->world_size();
  const Tensor row = Empty({lanes_, 3}, DType::kF64);
  for (int i = 0; i < lanes_; ++i) {
    double* const loss = row.data<double>() + 3 * i;
    loss[0] = mine[i].nats;
    loss[1] = static_cast<double>(mine[i].tokens);
    loss[2] = mine[i].interrupted ? 1 : 0;
  }
  const Tensor rows = Empty({ranks, lanes_, 3}, DType::kF64);
  NW_RETURN_IF_ERROR(groups_.all->Gather(row, rows, "loss").Wait());
  std::vector<LossSum> losses;
  for (int lane = 0; lane < ranks * lanes_; ++lane) {
    const bool side_by_side = result_ == ReducedGradients::kPiecesOnly;
    const int place =
        side_by_side ? lane % ranks * lanes_ + lane / ranks : lane;
    const double* const loss = rows.data<double>() + 3 * place;
    losses.push_back({loss[0], static_cast<int64_t>(loss[1]), loss[2] != 0});
  }
  return SumTree(losses, 0, losses.size());
}

std::vector<FlatRange> GradientReducer::buckets() const {
  std::vector<FlatRange> ranges;
  for (auto bucket = buckets_.rbegin(); bucket != buckets_.rend(); ++bucket) {
    ranges.push_back(bucket->range);
  }
  return ranges;
}

std::vector<FlatRange> GradientReducer::pieces() const {
  std::vector<FlatRange> pieces;
  for (const FlatRange& bucket : buckets()) {
    const FlatRange piece =
        PieceOf(bucket, groups_.shards->world_size(), groups_.shards->rank());
    if (piece.size() > 0) pieces.push_back(piece);
  }
  return pieces;
}

absl::Status GradientReducer::Complete(const Tensor& numbers) {
  const ActivityScope activity("all-reduce", "norm",
                               ActivityKind::kWaitsForOthers);
  return groups_.shards->AllReduce(numbers, "norm").Wait();
}

absl::Status GradientReducer::AllGather(const Tensor& flat) {
  if (result_ == ReducedGradients::kWhole) return absl::OkStatus();
  const ActivityScope activity("all-gather", "", ActivityKind::kWaitsForOthers);
  std::vector<Work> works;
  for (const Bucket& bucket : buckets_) {
    works.push_back(
        groups_.shards->AllGather(bucket.range.Of(flat), "all-gather"));
  }
  for (const Work& work : works) NW_RETURN_IF_ERROR(work.Wait());
  return absl::OkStatus();
}

}  // namespace nextword

#include "distributed/checkpoint_saver.h"

#include <utility>

#include "absl/time/clock.h"
#include "autograd/base/check.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "distributed/run_checkpoints.h"

namespace nextword {
namespace {

int64_t BytesOf(const ShardedTensors& tensors) {
  int64_t bytes = 0;
  for (const NamedTensor& named : tensors.tensors()) {
    bytes += named.tensor.size_bytes();
  }
  return bytes;
}

}  // namespace

struct CheckpointSaver::Job {
  CheckpointState state;
  ShardedTensors weights, moments;
  absl::Time start;
  Outcome outcome = {};
  absl::Notification done = {};
};

CheckpointSaver::CheckpointSaver(const TrainConfig& config,
                                 const RankGroups& groups)
    : config_(config), groups_(groups) {}

CheckpointSaver::~CheckpointSaver() {
  prepared_ = true;
  if (thread_.joinable()) thread_.join();
}

bool CheckpointSaver::TakesPart() const {
  // Only the lead's part of the ranks has what is not elsewhere.
  return groups_.all->rank() < groups_.shards->world_size();
}

void CheckpointSaver::MakeRoom(const ShardedTensors& weights,
                               const ShardedTensors& moments) {
  const RankGroups groups(groups_.all, groups_.background);
  weights_.emplace(weights.RoomForCopy(groups));
  moments_.emplace(moments.RoomForCopy(groups));
}

void CheckpointSaver::Prepare(const ShardedTensors& weights,
                              const ShardedTensors& moments) {
  if (!TakesPart() || !config_.checkpoint().asynchronous()) return;
  NW_CHECK(!weights_.has_value()) << "prepared twice";
  MakeRoom(weights, moments);
  thread_ = std::thread([this] {
    weights_->Touch(prepared_);
    moments_->Touch(prepared_);
  });
}

void CheckpointSaver::Save(CheckpointState state, const ShardedTensors& weights,
                           const ShardedTensors& moments, Mode mode,
                           absl::Time start) {
  NW_CHECK(job_ == nullptr) << "a save is under way";
  if (!TakesPart()) return;
  prepared_ = true;
  if (thread_.joinable()) thread_.join();
  if (mode == Mode::kNow || !config_.checkpoint().asynchronous()) {
    job_.reset(new Job{std::move(state), weights, moments, start});
    Run(job_.get());
    job_->outcome.stalled = job_->outcome.took;
    return;
  }
  if (!weights_.has_value()) MakeRoom(weights, moments);
  weights_->Update(weights);
  moments_->Update(moments);
  job_.reset(new Job{std::move(state), *weights_, *moments_, start});
  job_->outcome.stalled = absl::Now() - start;
  thread_ = std::thread([this] {
    SetNumThreads(1);  // The others are training's.
    Run(job_.get());
  });
}

void CheckpointSaver::Run(Job* job) const {
  Outcome& outcome = job->outcome;
  outcome.step = job->state.step;
  outcome.status = Write(job);
  outcome.took = absl::Now() - job->start;
  job->done.Notify();
}

absl::Status CheckpointSaver::Write(Job* job) const {
  ShardedTensors& weights = job->weights;
  ShardedTensors& moments = job->moments;
  absl::Status status;
  if (groups_.all->rank() == 0) {
    CheckpointState& state = job->state;
    job->outcome.bytes = BytesOf(weights) + BytesOf(moments);
    state.weights = weights.tensors();
    state.weight_writer = [&](const NamedTensor& tensor, const ByteSink& sink) {
      return weights.Write(tensor, sink);
    };
    state.moments = moments.tensors();
    state.moment_writer = [&](const NamedTensor& tensor, const ByteSink& sink) {
      return moments.Write(tensor, sink);
    };
    status = SaveCheckpoint(config_.run_dir(), state);
    if (status.ok()) {
      status = PruneCheckpoints(config_.run_dir(), state.step,
                                RetentionOf(config_.checkpoint()));
    }
  }
  // The others do not know whether the lead could write it all.
  const absl::Status exchanged = weights.WriteNowhere();
  NW_RETURN_IF_ERROR(exchanged.ok() ? moments.WriteNowhere() : exchanged);
  return status;
}

std::optional<CheckpointSaver::Outcome> CheckpointSaver::Poll() {
  if (job_ == nullptr || !job_->done.HasBeenNotified()) return std::nullopt;
  if (thread_.joinable()) thread_.join();
  const Outcome outcome = job_->outcome;
  job_.reset();
  return outcome;
}

std::optional<CheckpointSaver::Outcome> CheckpointSaver::Wait() {
  if (job_ != nullptr) job_->done.WaitForNotification();
  return Poll();
}

}  // namespace nextword

// The learner: a model and all that turns batches into better weights.
//
// It owns model, weights, gradients and moments, and takes one optimizer step
// at a time, together with those of the other ranks, each of which computes
// some of the step's lanes. Its result is a function of config, state and
// batches: not of threads, nor of ranks. Where batches come from, and what
// happens between steps, is the caller's business. Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LEARNER_H_
#define NEXTWORD_DISTRIBUTED_LEARNER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "autograd/parameters.h"
#include "configs/train_config.pb.h"
#include "distributed/batch.h"
#include "distributed/collectives/rank_groups.h"
#include "distributed/compute_dtype.h"
#include "distributed/flat_norm.h"
#include "distributed/gradient_reducer.h"
#include "distributed/repeated_batch.h"
#include "distributed/sharded_tensors.h"
#include "distributed/stop_agreement.h"
#include "distributed/weight_shards.h"
#include "layers/delayed_scales.h"
#include "layers/transformer.h"
#include "optim/optimizer.h"

namespace nextword {

// Fills the rows of `batch` with the run's sequences from number `first` on.
using BatchReader = std::function<void(uint64_t first, Batch* batch)>;

class Learner {
 public:
  struct StepResult {
    double loss;  // Nats per token.
    double gradient_norm;
    double learning_rate;
    // What of it is not finite, such as "a gradient": weights and moments are
    // then as they were before. Empty if all is.
    std::string not_finite = {};
    // The first parameter whose gradient that is, or whose layer's input or
    // result's gradient in eight bits; empty if there is none.
    std::string bad_parameter = {};

    bool skipped() const { return !not_finite.empty(); }
  };

  // Allocates all of it; `model` is resolved, the communicators outlive it.
  // Moments are zeros, weights undefined: Initialize them or read a checkpoint
  // into them. Error: this machine lacks the config's device, or its memory
  // cannot hold it, or the lanes cannot be divided among the ranks.
  static absl::StatusOr<std::unique_ptr<Learner>> Create(
      const TrainConfig& config, const ModelConfig& model,
      const RankGroups& groups);

  // Random weights of the config's seed. Collective.
  absl::Status Initialize();

  // Goes on after `step` steps, with sequence `next_sequence`, and with what
  // were the expected_factors() then; the checkpoint's weights and moments are
  // in place. Collective.
  absl::Status ResumeAt(int64_t step, uint64_t next_sequence,
                        absl::Span<const float> expected_factors);

  // One step on the sequences that come next. Error: it predicts no token; or
  // another rank is gone, and this learner is of no more use; or Cancelled on
  // all ranks, soon after one was asked to stop, unless `stop` is null: what
  // was computed of the step is given up, weights and moments are those after
  // the step before, to be saved; it can do no more steps. In a trace, the step
  // and its phases (data, forward, backward, reduce, update) are spans of
  // category "step".
  absl::StatusOr<StepResult> Step(const BatchReader& read,
                                  StopAgreement* stop = nullptr);

  int64_t step() const { return step_; }  // Steps done.
  uint64_t next_sequence() const { return next_sequence_; }
  // Of the matrix products.
  DType compute_dtype() const { return ComputeDTypeOf(config_); }
  const layers::Transformer& model() const { return model_; }
  const Parameters& parameters() const { return *parameters_; }
  const Optimizer& optimizer() const { return *optimizer_; }
  // What the factors of products in eight bits are expected to be at the most;
  // nothing in other dtypes, and before the first step.
  std::vector<float> expected_factors() const;
  // Weights and moments as checkpoints have them. Once they are restored,
  // ResumeAt.
  ShardedTensors Weights() const;
  ShardedTensors Moments() const;

  // The L2 norm of the weights; infinite or no number when one of them is.
  // Collective with sharded weights.
  absl::StatusOr<double> WeightNorm() const;

  // Whether every rank has all weights. If not, a forward pass is collective,
  // and what it gives is of no use once this is an error.
  bool has_whole_weights() const { return shards_ == nullptr; }
  absl::Status status() const;

 private:
  Learner(const TrainConfig& config, const ModelConfig& model, Device device,
          const RankGroups& groups);

  absl::StatusOr<LossSum> SumGradients(const BatchReader& read,
                                       StopAgreement* stop);
  // Returns the sum of the micro-batch's losses, [], which are `tokens` more.
  Tensor AddMicroBatch(int64_t first_in_step, bool last,
                       const BatchReader& read, int64_t* tokens);
  Batch ReadBatch(uint64_t first, const BatchReader& read) const;
  // The same for a batch that was read.
  Tensor AddGradients(const Batch& batch, int64_t first_in_step) const;
  Variable Forward(const Batch& batch, int64_t first_in_step) const;
  absl::StatusOr<StepResult> Update(const LossSum& loss);
  // The largest magnitudes of factors in eight bits, on any rank. Collective.
  absl::StatusOr<std::vector<float>> LargestFactors();
  // Says what of a step with these factors is not finite. Collective.
  absl::Status FindNotFinite(absl::Span<const float> largest,
                             StepResult* result) const;
  absl::Status DropGradients();
  absl::Status ShareWeights();
  // Makes of weights their copies in the compute dtype, as after `step` steps.
  void CopyWeights(int64_t step);
  // And of these, of all weights, what products in eight bits take.
  void RoundWeights();
  // This rank's, where it does not update all weights.
  Pieces UpdatedPieces() const;
  Has has_gradients() const;

  const TrainConfig config_;
  const RankGroups groups_;
  const Sharding sharding_;  // NONE for one rank.
  layers::Transformer model_;
  std::unique_ptr<layers::DelayedScales> scales_;  // Of products in eight bits.
  std::unique_ptr<Parameters> parameters_;
  std::unique_ptr<GradientReducer> reducer_;
  const FlatNorm norm_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<WeightShards> shards_;     // Of PARAMETERS.
  std::unique_ptr<RepeatedBatch> repeated_;  // With a CUDA graph.

  int64_t step_ = 0;
  uint64_t next_sequence_ = 0;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LEARNER_H_

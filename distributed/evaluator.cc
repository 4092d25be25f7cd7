#include "distributed/evaluator.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/interruptible.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "autograd/kernels/kernels.h"
#include "distributed/batch.h"
#include "distributed/rendezvous/activity.h"

namespace nextword {
namespace {

// Tokens that follow another one in `sequences`: all but the first. A document
// mask may leave some of them without a prediction.
double AllTargets(const EvaluationSequences& sequences) {
  return static_cast<double>(sequences.stream().num_tokens() - 1);
}

}  // namespace

double Evaluation::loss() const { return nats / static_cast<double>(tokens); }

double Evaluation::perplexity() const { return std::exp(loss()); }

double Evaluation::bits_per_byte() const { return nats / M_LN2 / bytes; }

absl::StatusOr<Evaluation> Evaluate(const layers::Transformer& model,
                                    const EvaluationSequences& sequences,
                                    int64_t batch, int64_t max_sequences,
                                    Communicator* communicator,
                                    StopAgreement* stop) {
  const NoGradScope no_grad;
  const int64_t all = static_cast<int64_t>(sequences.size());
  const int64_t count = max_sequences > 0 ? std::min(max_sequences, all) : all;
  const int64_t length = sequences.options().sequence_length;
  // Rank r takes batches r, r + P, ...; row i of `sums` is its i-th: nats,
  // tokens, and whether it was interrupted.
  const int64_t ranks = communicator->world_size();
  const int64_t rounds = NumChunks(NumChunks(count, batch), ranks);
  const Tensor mine = Zeros({rounds, 3}, DType::kF64);
  for (int64_t round = 0; round < rounds; ++round) {
    if (stop != nullptr) NW_RETURN_IF_ERROR(stop->Check());
    // Where no batch is left, the first once more: ranks do the same things.
    const int64_t place = (round * ranks + communicator->rank()) * batch;
    const int64_t begin = place < count ? place : 0;
    const int64_t rows = std::min(batch, count - begin);
    Batch part(rows, length, sequences.options().document_mask);
    for (int64_t i = 0; i < rows; ++i) {
      sequences.Get(begin + i, part.input_row(i), part.target_row(i),
                    part.document_row(i));
    }
    const InterruptibleScope scope(stop != nullptr);
    const float nats = ToScalar<float>(SumLoss(model, part, {}).value());
    if (place >= count) break;
    double* const sum = mine.data<double>() + 3 * round;
    sum[0] = nats;
    sum[1] = static_cast<double>(part.CountTargets());
    sum[2] = scope.interrupted() ? 1 : 0;
  }
  const ActivityScope activity("all-gather", "evaluation",
                               ActivityKind::kWaitsForOthers);
  const Tensor sums = Empty({ranks, rounds, 3}, DType::kF64);
  NW_RETURN_IF_ERROR(communicator->Gather(mine, sums, "evaluation").Wait());
  Evaluation result;
  for (int64_t i = 0; i < rounds * ranks; ++i) {
    const double* const sum =
        sums.data<double>() + 3 * (i % ranks * rounds + i / ranks);
    if (sum[2] != 0) return stop->Agree();
    result.nats += sum[0];
    result.tokens += static_cast<int64_t>(sum[1]);
  }
  const double share = std::min(
      1.0, static_cast<double>(count * length) / AllTargets(sequences));
  result.bytes = static_cast<double>(sequences.text_bytes()) * share;
  return result;
}

}  // namespace nextword

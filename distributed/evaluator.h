// Loss on held-out text.
#ifndef NEXTWORD_DISTRIBUTED_EVALUATOR_H_
#define NEXTWORD_DISTRIBUTED_EVALUATOR_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "data/evaluation_sequences.h"
#include "distributed/collectives/communicator.h"
#include "distributed/stop_agreement.h"
#include "layers/transformer.h"

namespace nextword {

struct Evaluation {
  double nats = 0;     // Summed over tokens.
  int64_t tokens = 0;  // Predicted.
  double bytes = 0;    // Of the text that they encode.

  double loss() const;  // Nats per token.
  double perplexity() const;
  double bits_per_byte() const;
};

// The loss of `model` over the first `max_sequences` of `sequences` (0 for
// all), `batch` of them at a time, which the ranks share. With a part only, its
// bytes are taken in proportion to its tokens. The result does not depend on
// `batch` beyond rounding, and not at all on threads or ranks. Errors: another
// rank is gone; Cancelled on all, soon after one was asked to stop, unless
// `stop` is null.
absl::StatusOr<Evaluation> Evaluate(const layers::Transformer& model,
                                    const EvaluationSequences& sequences,
                                    int64_t batch, int64_t max_sequences,
                                    Communicator* communicator,
                                    StopAgreement* stop = nullptr);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_EVALUATOR_H_

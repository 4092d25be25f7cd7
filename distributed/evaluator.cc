#include "distributed/evaluator.h"

#include <algorithm>
#include <cmath>

#include "distributed/batch.h"

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

Evaluation Evaluate(const layers::Transformer& model,
                    const EvaluationSequences& sequences, int64_t batch,
                    int64_t max_sequences) {
  const NoGradScope no_grad;
  const int64_t all = static_cast<int64_t>(sequences.size());
  const int64_t count = max_sequences > 0 ? std::min(max_sequences, all) : all;
  const int64_t length = sequences.options().sequence_length;
  Evaluation result;
  for (int64_t begin = 0; begin < count; begin += batch) {
    const int64_t rows = std::min(batch, count - begin);
    Batch part(rows, length, sequences.options().document_mask);
    for (int64_t i = 0; i < rows; ++i) {
      sequences.Get(begin + i, part.input_row(i), part.target_row(i),
                    part.document_row(i));
    }
    result.nats += ToScalar<float>(SumLoss(model, part, {}).value());
    result.tokens += part.CountTargets();
  }
  const double share = std::min(
      1.0, static_cast<double>(count * length) / AllTargets(sequences));
  result.bytes = static_cast<double>(sequences.text_bytes()) * share;
  return result;
}

}  // namespace nextword

// Held-out tokens as consecutive windows, for evaluation.
//
// Every token of the stream but the first is a target exactly once, so that
//   bits per byte = total loss in nats / ln 2 / text_bytes().
// Immutable, so thread-safe.
#ifndef NEXTWORD_DATA_EVALUATION_SEQUENCES_H_
#define NEXTWORD_DATA_EVALUATION_SEQUENCES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "data/token_stream.h"
#include "data/window.h"

namespace nextword {

struct EvaluationOptions {
  int64_t sequence_length = 0;  // In tokens.
  // As in LoaderOptions; the first token of each document is then no target.
  bool document_mask = false;
};

class EvaluationSequences {
 public:
  // Error: the stream has less than two tokens, so nothing to predict.
  static absl::StatusOr<EvaluationSequences> Create(
      TokenStream stream, const EvaluationOptions& options);

  // Sequence `index` in [0, size()), sequence_length ids each, documents as in
  // data/window.h. The last one is padded with ignored targets.
  void Get(uint64_t index, int32_t* inputs, int32_t* targets,
           int32_t* documents = nullptr) const;

  // Number of sequences.
  uint64_t size() const;
  // Bytes of text that the whole stream encodes.
  uint64_t text_bytes() const { return stream_.text_bytes(); }
  const TokenStream& stream() const { return stream_; }
  const EvaluationOptions& options() const { return options_; }

 private:
  EvaluationSequences(TokenStream stream, const EvaluationOptions& options);

  TokenStream stream_;
  EvaluationOptions options_;
};

}  // namespace nextword

#endif  // NEXTWORD_DATA_EVALUATION_SEQUENCES_H_

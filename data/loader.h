// The order in which training sees the tokens, and the batches.
//
// The stream is cut into windows of sequence_length tokens. Each epoch shifts
// the windows by an offset of its own and visits each once in an order of its
// own; both follow from (seed, epoch). Sequence i of a run is therefore a pure
// function of i: ranks take the sequences they need, and a checkpoint that
// carries the next sequence's number resumes with the very next one.
// Immutable, so thread-safe.
#ifndef NEXTWORD_DATA_LOADER_H_
#define NEXTWORD_DATA_LOADER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "data/token_stream.h"
#include "data/window.h"

namespace nextword {

struct LoaderOptions {
  int64_t sequence_length = 0;  // In tokens.
  uint64_t seed = 0;
  // The end-of-text token is not asked what the next document starts with.
  bool document_mask = false;
};

class Loader {
 public:
  // Error: the stream is shorter than sequence_length + 1 tokens.
  static absl::StatusOr<Loader> Create(TokenStream stream,
                                       const LoaderOptions& options);

  // Sequence `index` of the run, sequence_length ids each: targets are the
  // inputs' successors or kIgnoredTarget, documents are as in data/window.h.
  void Get(uint64_t index, int32_t* inputs, int32_t* targets,
           int32_t* documents = nullptr) const;

  // Sequences [first, first + count) as rows: [count, sequence_length].
  void GetBatch(uint64_t first, int64_t count, int32_t* inputs,
                int32_t* targets, int32_t* documents = nullptr) const;

  // First token, in the stream, of sequence `index`.
  uint64_t FirstToken(uint64_t index) const;

  // Sequences in one epoch; the same in each.
  uint64_t sequences_per_epoch() const { return sequences_per_epoch_; }
  const TokenStream& stream() const { return stream_; }
  const LoaderOptions& options() const { return options_; }

 private:
  Loader(TokenStream stream, const LoaderOptions& options);

  TokenStream stream_;
  LoaderOptions options_;
  uint64_t sequences_per_epoch_;
  uint64_t num_offsets_;  // Offsets that leave room for all windows.
};

}  // namespace nextword

#endif  // NEXTWORD_DATA_LOADER_H_

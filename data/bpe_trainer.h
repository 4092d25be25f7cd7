// Training of byte-pair encodings.
#ifndef NEXTWORD_DATA_BPE_TRAINER_H_
#define NEXTWORD_DATA_BPE_TRAINER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "data/tokenizer.h"

namespace nextword {

struct BpeTrainerOptions {
  // Entries of the vocabulary, bytes and special tokens included.
  int32_t vocab_size = 4096;
  // Must hold kEndOfText.
  std::vector<std::string> special_tokens = {kEndOfText};
};

// Learns merges from `texts`: again and again the most frequent pair of
// neighbouring tokens within a piece becomes one token; of equally frequent
// pairs, the one whose pair of byte strings is lexicographically greater. A
// function of the texts alone, whatever the number of threads.
//
// Errors: vocab_size is too small for bytes and special tokens, or larger than
// what the texts have pairs for (the message says how far they reach).
absl::StatusOr<Tokenizer> TrainBpe(absl::Span<const absl::string_view> texts,
                                   const BpeTrainerOptions& options);

}  // namespace nextword

#endif  // NEXTWORD_DATA_BPE_TRAINER_H_

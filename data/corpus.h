// From raw text to a tokenizer and token files, once.
#ifndef NEXTWORD_DATA_CORPUS_H_
#define NEXTWORD_DATA_CORPUS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer.h"

namespace nextword {

struct CorpusOptions {
  // Text files, one document each; `*` in the last part, see file_pattern.h.
  std::vector<std::string> sources = {};
  // Text files to hold out; removed from `sources` where they are there too.
  std::vector<std::string> held_out_sources = {};
  // Without held_out_sources: share of the text to hold out, see split.h.
  double held_out_fraction = 0.1;
  // Tokenizer file; empty: train one, on the training part only.
  std::string tokenizer = {};
  // Entries of the trained tokenizer, special tokens included.
  int32_t tokenizer_vocab_size = 4096;
  // Folder of the files made.
  std::string cache_dir = {};
  // Make them again even if they seem to be there.
  bool remake = false;
};

struct PreparedCorpus {
  Tokenizer tokenizer;
  // The file of `tokenizer`.
  std::string tokenizer_path;
  std::string train_tokens;
  // Empty if nothing is held out.
  std::string held_out_tokens;
  // Whether all was there already.
  bool reused = false;
};

// Makes tokenizer.json (unless one is given), train.tokens and held_out.tokens
// in cache_dir, or reuses them when files and options are those they were made
// from: the same paths, sizes and either modification times or contents. An
// interrupted preparation is never taken for a complete one. Processes that
// prepare the same folder wait for each other.
//
// Errors: a source that is missing, empty or not a regular file; a pattern
// without match; nothing left to train on; what Tokenizer, TrainBpe and
// SplitDocuments refuse; a full disk.
absl::StatusOr<PreparedCorpus> PrepareCorpus(const CorpusOptions& options);

}  // namespace nextword

#endif  // NEXTWORD_DATA_CORPUS_H_

// The data of a run, ready to train on: from a config to open token files.
#ifndef NEXTWORD_DISTRIBUTED_CORPUS_DATA_H_
#define NEXTWORD_DISTRIBUTED_CORPUS_DATA_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "configs/train_config.pb.h"
#include "data/evaluation_sequences.h"
#include "data/loader.h"
#include "data/tokenizer.h"

namespace nextword {

struct CorpusData {
  // Opens what `config`, which is valid, names; from raw text, tokenizer and
  // token files are made first unless they are there and whole. Errors: what it
  // names is missing, damaged, too short, or made with another tokenizer.
  static absl::StatusOr<CorpusData> Open(const TrainConfig& config);

  // The text that the run of `config` holds out, in files that are there:
  // nothing is made, and the text that is trained on is not needed. Nothing
  // when the config holds none out. Errors as above.
  static absl::StatusOr<std::optional<EvaluationSequences>> OpenHeldOut(
      const TrainConfig& config, const Tokenizer& tokenizer);

  // Of the tokens that are trained on, of those that are evaluated on, if any,
  // and of both.
  uint64_t training_fingerprint() const;
  std::optional<uint64_t> held_out_fingerprint() const;
  uint64_t fingerprint() const;

  Tokenizer tokenizer;
  std::string tokenizer_path;
  std::string tokenizer_file;  // The bytes of that file.
  Loader loader;
  std::optional<EvaluationSequences> held_out;

 private:
  static absl::StatusOr<CorpusData> OpenFiles(const TrainConfig& config,
                                              bool remake);
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_CORPUS_DATA_H_

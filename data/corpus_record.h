// What a prepared corpus was made from: the last file that a preparation
// writes, so that its presence says that the others are complete.
#ifndef NEXTWORD_DATA_CORPUS_RECORD_H_
#define NEXTWORD_DATA_CORPUS_RECORD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/file_stamp.h"

namespace nextword {

// Everything that decides the result. Options that have no effect are zero.
struct CorpusInputs {
  std::vector<FileStamp> sources;
  std::vector<FileStamp> held_out_sources;
  double held_out_fraction = 0;
  std::optional<FileStamp> tokenizer;  // Unless one is trained.
  int32_t tokenizer_vocab_size = 0;

  friend bool operator==(const CorpusInputs&, const CorpusInputs&) = default;
};

struct CorpusRecord {
  CorpusInputs inputs;
  // Of the files made.
  uint64_t tokenizer_fingerprint = 0;
  uint64_t train_checksum = 0;
  std::optional<uint64_t> held_out_checksum;  // If anything is held out.

  // JSON. Errors: the file is missing, or not such a record.
  static absl::StatusOr<CorpusRecord> Load(const std::string& path);
  absl::Status Save(const std::string& path) const;
};

// The stamps of all files in `inputs`; they live in it.
std::vector<FileStamp*> StampsOf(CorpusInputs* inputs);

// `inputs` with the hashes of files as they are now.
absl::StatusOr<CorpusInputs> Hashed(CorpusInputs inputs);

}  // namespace nextword

#endif  // NEXTWORD_DATA_CORPUS_RECORD_H_

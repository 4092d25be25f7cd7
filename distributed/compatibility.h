// Whether a checkpoint and the run that is to go on from it belong together.
// Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_COMPATIBILITY_H_
#define NEXTWORD_DISTRIBUTED_COMPATIBILITY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "configs/train_config.pb.h"
#include "data/tokenizer.h"
#include "distributed/checkpoint.h"

namespace nextword {

// Whether the run of `config`, with its resolved `model`, its `tokenizer` and
// the corpus of this fingerprint, is the one that `checkpoint` was taken of.
// What decides what is computed, and what positions in the data mean, must
// agree: with others, the run would silently be neither the old one nor a new
// one. Error: every field that differs, seen and wanted, and what to do.
absl::Status CheckCompatible(const Checkpoint& checkpoint,
                             const TrainConfig& config,
                             const ModelConfig& model,
                             const Tokenizer& tokenizer,
                             uint64_t corpus_fingerprint);

// The fields that may and do differ: "optimizer.learning_rate: 0.0006 ->
// 0.0003". Not those that say where things are, and on what machine.
std::vector<std::string> ChangedFields(const TrainConfig& saved,
                                       const TrainConfig& config);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COMPATIBILITY_H_

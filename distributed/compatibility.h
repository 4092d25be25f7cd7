// Whether a checkpoint and the run that is to go on from it belong together.
// Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_COMPATIBILITY_H_
#define NEXTWORD_DISTRIBUTED_COMPATIBILITY_H_

#include "absl/status/status.h"
#include "configs/train_config.pb.h"
#include "data/tokenizer.h"
#include "distributed/checkpoint.h"

namespace nextword {

// Whether the run of `config`, with its resolved `model` and its `tokenizer`,
// is the one that `checkpoint` was taken of. Seed, tokenizer, and all of the
// model that decides what it computes must agree: with others, the run would
// silently be neither the old one nor a new one. The learning rate, the batch
// and the like may change. Error: what differs, seen and wanted.
absl::Status CheckCompatible(const Checkpoint& checkpoint,
                             const TrainConfig& config,
                             const ModelConfig& model,
                             const Tokenizer& tokenizer);

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COMPATIBILITY_H_

// `nextword bench --what tokenizer`: from text to a tokenizer, to tokens and
// back.
#ifndef NEXTWORD_TOOLS_COMMANDS_BENCH_TOKENIZER_H_
#define NEXTWORD_TOOLS_COMMANDS_BENCH_TOKENIZER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/commands/bench_report.h"

namespace nextword {

// Trains a tokenizer of `vocab_size` entries on `text`, once, then encodes and
// decodes all of it, each for about `seconds`. Error: the text has too few
// pairs for so many entries.
absl::StatusOr<BenchReport> BenchTokenizer(absl::string_view text,
                                           int32_t vocab_size, double seconds);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_BENCH_TOKENIZER_H_

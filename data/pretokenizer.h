// Pre-tokenization: text is split into pieces (words with their leading space,
// numbers, punctuation, white space) that merges of the tokenizer never cross.
//
// The pattern is GPT-2's (Radford et al., 2019), over Unicode classes:
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// Classes are PCRE2's (of Unicode 14 in PCRE2 10.42), which unlike Unicode
// count U+180E as white space. A byte that is no part of valid UTF-8 is a piece
// of its own, so that pieces always concatenate to the text. Functions are pure
// and thread-safe.
#ifndef NEXTWORD_DATA_PRETOKENIZER_H_
#define NEXTWORD_DATA_PRETOKENIZER_H_

#include <cstddef>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

namespace nextword {

// Calls visit(piece) for the pieces of `text`, in order. Views into `text`.
void ForEachPiece(absl::string_view text,
                  absl::FunctionRef<void(absl::string_view)> visit);

// Cuts `text` into consecutive chunks of about `chunk_bytes` whose pieces,
// taken chunk by chunk, are the pieces of `text`. A chunk is longer where the
// text has no place to cut.
std::vector<absl::string_view> CutAtPieces(absl::string_view text,
                                           size_t chunk_bytes);

}  // namespace nextword

#endif  // NEXTWORD_DATA_PRETOKENIZER_H_

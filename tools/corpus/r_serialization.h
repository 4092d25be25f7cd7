// R's serialization, read: the part that tables of text need.
//
// Knows the XDR form of versions 2 and 3 ("R Internals", section 1.8) with
// NULL, integers, logicals, strings and lists, and of their attributes the
// names. Everything else is an error that names the type and its byte. Input
// may be hostile: memory and depth are bounded by the input's size.
// An RValue owns what it holds; no global state, so thread-safe.
#ifndef NEXTWORD_TOOLS_CORPUS_R_SERIALIZATION_H_
#define NEXTWORD_TOOLS_CORPUS_R_SERIALIZATION_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nextword {

struct RValue {
  using Integers = std::vector<int32_t>;
  using Strings = std::vector<std::string>;  // UTF-8.
  using List = std::vector<RValue>;

  // std::monostate is R's NULL.
  std::variant<std::monostate, Integers, Strings, List> data;
  // The attribute `names`, one per element; empty when there is none.
  Strings names;
};

// The value that `bytes`, already uncompressed, hold. Bytes after it are an
// error too.
absl::StatusOr<RValue> ParseRSerialization(absl::string_view bytes);

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_CORPUS_R_SERIALIZATION_H_

// Several token files as one stream of tokens, in the order given.
// Movable; immutable, so thread-safe.
#ifndef NEXTWORD_DATA_TOKEN_STREAM_H_
#define NEXTWORD_DATA_TOKEN_STREAM_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "data/token_file.h"
#include "data/vocabulary.h"

namespace nextword {

class TokenStream {
 public:
  // Opens the files. Errors: none given, one that TokenFile::Open refuses, or
  // files of different tokenizers.
  static absl::StatusOr<TokenStream> Open(
      const std::vector<std::string>& paths,
      const std::optional<Vocabulary>& expected = std::nullopt);

  // Copies the tokens [begin, begin + out.size()), which must exist.
  void Read(uint64_t begin, absl::Span<int32_t> out) const;

  uint64_t num_tokens() const { return ends_.back(); }
  uint64_t num_documents() const;
  // Bytes of the text that the tokens encode.
  uint64_t text_bytes() const;
  const Vocabulary& vocabulary() const;
  const std::vector<TokenFile>& files() const { return files_; }

  // "a.tokens (12 tokens), b.tokens (7 tokens)", for messages.
  std::string Describe() const;

 private:
  explicit TokenStream(std::vector<TokenFile> files);

  std::vector<TokenFile> files_;
  std::vector<uint64_t> ends_;  // Of the files, in tokens of the stream.
};

}  // namespace nextword

#endif  // NEXTWORD_DATA_TOKEN_STREAM_H_

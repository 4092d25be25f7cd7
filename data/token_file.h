// Token files: a corpus as token ids, ready to be mapped into memory.
//
// Layout, little-endian: a header of 128 bytes, then the ids as 2 or 4 bytes
// each (2 when the vocabulary has at most 65,536 entries). Every document is
// followed by the end-of-text token. The header carries checksums of itself
// and of the ids, and the identity of the tokenizer.
#ifndef NEXTWORD_DATA_TOKEN_FILE_H_
#define NEXTWORD_DATA_TOKEN_FILE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "autograd/base/file.h"
#include "autograd/base/hash.h"
#include "data/tokenizer.h"
#include "data/vocabulary.h"

namespace nextword {

// What the header says.
struct TokenFileInfo {
  Vocabulary vocabulary;
  int32_t token_bytes = 0;  // Width of an id: 2 or 4.
  uint64_t num_tokens = 0;  // Ends of documents included.
  uint64_t num_documents = 0;
  // Bytes of the text that was encoded; the unit of bits per byte.
  uint64_t text_bytes = 0;
  uint64_t checksum = 0;  // XXH3 of the ids as stored.
};

// Writes documents into a token file. Made by WriteTokenFile. Not thread-safe.
class TokenFileWriter {
 public:
  // Encodes and adds a document. Bounded memory, whatever its length.
  absl::Status AddDocument(const Tokenizer& tokenizer, absl::string_view text);

  // Adds a document of ids that stand for `text_bytes` bytes of text. Error: an
  // id outside the vocabulary, or the end-of-text token, which is added here.
  absl::Status AddDocument(absl::Span<const int32_t> ids, uint64_t text_bytes);

  const TokenFileInfo& info() const { return info_; }

 private:
  friend absl::StatusOr<TokenFileInfo> WriteTokenFile(
      const std::string& path, const Vocabulary& vocabulary,
      const std::function<absl::Status(TokenFileWriter&)>& fill);

  TokenFileWriter(const Vocabulary& vocabulary, FileWriter* file);
  absl::Status Append(absl::Span<const int32_t> ids);
  absl::Status EndDocument(uint64_t text_bytes);
  absl::Status Finish();

  TokenFileInfo info_;
  FileWriter* file_;
  StreamHash hash_;
  std::string buffer_;
};

// Writes a token file through a temporary name: `fill` adds the documents, at
// least one. On any error `path` is untouched. Returns the finished header.
absl::StatusOr<TokenFileInfo> WriteTokenFile(
    const std::string& path, const Vocabulary& vocabulary,
    const std::function<absl::Status(TokenFileWriter&)>& fill);

// Whether a file with these contents, or their beginning, is meant as a token
// file.
bool LooksLikeTokenFile(absl::string_view contents);

// A token file mapped into memory. Movable; immutable, so thread-safe.
class TokenFile {
 public:
  // Checks the header: its own checksum, its fields, and the file's size. With
  // `expected`, a file made with another tokenizer is an error as well.
  static absl::StatusOr<TokenFile> Open(
      const std::string& path,
      const std::optional<Vocabulary>& expected = std::nullopt);

  // Reads the whole file: its checksum, that all ids are in the vocabulary, the
  // number of documents, and that the last one ends.
  absl::Status VerifyContents() const;

  // Copies the tokens [begin, begin + out.size()), which must exist.
  void Read(uint64_t begin, absl::Span<int32_t> out) const;

  const std::string& path() const { return path_; }
  const TokenFileInfo& info() const { return info_; }
  uint64_t num_tokens() const { return info_.num_tokens; }

 private:
  TokenFile(std::string path, MappedFile file, const TokenFileInfo& info);
  absl::string_view Payload() const;

  std::string path_;
  MappedFile file_;
  TokenFileInfo info_;
};

}  // namespace nextword

#endif  // NEXTWORD_DATA_TOKEN_FILE_H_

// Byte-level byte-pair encoding (Sennrich et al., 2016; Radford et al., 2019).
//
// Ids: 0..255 are the bytes, then one id per merge in order, then the special
// tokens, of which <|endoftext|> is always one. Any byte string comes back from
// Decode(Encode(x)) as it was. A Tokenizer is an immutable handle: cheap to
// copy and thread-safe.
#ifndef NEXTWORD_DATA_TOKENIZER_H_
#define NEXTWORD_DATA_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "data/vocabulary.h"

namespace nextword {

inline constexpr char kEndOfText[] = "<|endoftext|>";

// What Encode makes of a special token's name in the text.
enum class SpecialTokens {
  kAsText,  // Text like any other: data cannot forge a document's end.
  kParse,   // The special token.
};

class Tokenizer {
 public:
  // Two ids that become one.
  using Merge = std::pair<int32_t, int32_t>;

  // Bytes and <|endoftext|>: vocab_size 257.
  static Tokenizer Bytes();

  // Merge i makes id 256 + i of two smaller ids. `special_tokens` holds
  // kEndOfText and other non-empty names, each once. Errors: a merge of an id
  // that does not exist yet, a merge that makes a token a second time, bad
  // special tokens, tokens that together exceed 64 MiB.
  static absl::StatusOr<Tokenizer> FromMerges(
      std::vector<Merge> merges,
      std::vector<std::string> special_tokens = {kEndOfText});

  // JSON, versioned; the fingerprint in it is verified, so that a damaged file
  // is an error.
  static absl::StatusOr<Tokenizer> Load(const std::string& path);
  // Writes the whole file or, on an error, nothing.
  absl::Status Save(const std::string& path) const;

  // Ids of `text`. Uses all threads on long texts.
  std::vector<int32_t> Encode(
      absl::string_view text,
      SpecialTokens special_tokens = SpecialTokens::kAsText) const;

  // Bytes of `ids`; special tokens by name. Error: an id outside the
  // vocabulary. The bytes need not be valid UTF-8.
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids) const;

  // Bytes of one token; `id` must be in [0, vocab_size()).
  absl::string_view TokenBytes(int32_t id) const;

  // Id of a special token, nothing when there is none of this name.
  std::optional<int32_t> SpecialTokenId(absl::string_view name) const;

  int32_t vocab_size() const { return vocabulary().size; }
  int32_t end_of_text_id() const { return vocabulary().end_of_text; }
  uint64_t fingerprint() const { return vocabulary().fingerprint; }
  const Vocabulary& vocabulary() const;
  const std::vector<Merge>& merges() const;
  const std::vector<std::string>& special_tokens() const;

 private:
  struct State;
  explicit Tokenizer(std::shared_ptr<const State> state);

  void EncodeText(absl::string_view text, std::vector<int32_t>* ids) const;

  std::shared_ptr<const State> state_;
};

}  // namespace nextword

#endif  // NEXTWORD_DATA_TOKENIZER_H_

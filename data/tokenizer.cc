#include "data/tokenizer.h"

#include <algorithm>
#include <limits>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/base/hash.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "data/merge_table.h"
#include "data/pretokenizer.h"

namespace nextword {
namespace {

constexpr int32_t kBytes = 256;
constexpr size_t kMaxTotalBytes = size_t{64} << 20;
// Large enough that most words of a chunk are found in the encoder's memory.
constexpr size_t kChunkBytes = size_t{1} << 20;

// The bytes of all tokens, one after the other.
struct TokenTable {
  std::string bytes;
  std::vector<size_t> ends;

  void Add(absl::string_view token) {
    absl::StrAppend(&bytes, token);
    ends.push_back(bytes.size());
  }
  absl::string_view Get(int32_t id) const {
    const size_t begin = id == 0 ? 0 : ends[id - 1];
    return absl::string_view(bytes).substr(begin, ends[id] - begin);
  }
};

absl::Status AddMerges(const std::vector<Tokenizer::Merge>& merges,
                       TokenTable* tokens) {
  absl::flat_hash_map<std::string, size_t> made;
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto [left, right] = merges[i];
    const int64_t id = kBytes + static_cast<int64_t>(i);
    if (std::min(left, right) < 0 || std::max(left, right) >= id) {
      return absl::InvalidArgumentError(
          absl::StrCat("merge ", i, " is of ids ", left, " and ", right,
                       ", wanted ids in [0, ", id, ")"));
    }
    std::string token = absl::StrCat(tokens->Get(left), tokens->Get(right));
    if (tokens->bytes.size() + token.size() > kMaxTotalBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("with merge ", i, " the tokens exceed 64 MiB"));
    }
    tokens->Add(token);
    const auto [first, is_new] = made.try_emplace(std::move(token), i);
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat(
          "merge ", i, " makes the same token as merge ", first->second));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSpecialTokens(const std::vector<std::string>& names) {
  absl::flat_hash_set<absl::string_view> seen;
  for (const std::string& name : names) {
    if (name.empty()) {
      return absl::InvalidArgumentError("a special token has no name");
    }
    if (!seen.insert(name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("special token ", name, " is given twice"));
    }
  }
  if (!seen.contains(kEndOfText)) {
    return absl::InvalidArgumentError(
        absl::StrCat("special tokens are [", absl::StrJoin(names, ", "),
                     "], wanted ", kEndOfText, " among them"));
  }
  return absl::OkStatus();
}

// Everything that changes what Encode and Decode do.
uint64_t Fingerprint(const std::vector<Tokenizer::Merge>& merges,
                     const std::vector<std::string>& special_tokens) {
  std::string contents = "byte-level BPE, GPT-2 pieces;";
  for (const auto& [left, right] : merges) {
    absl::StrAppend(&contents, left, " ", right, ";");
  }
  for (const std::string& name : special_tokens) {
    absl::StrAppend(&contents, name.size(), ":", name, ";");
  }
  return Hash64(contents);
}

// Finds names of special tokens in a text, from left to right.
class SpecialTokenFinder {
 public:
  struct Match {
    size_t position = absl::string_view::npos;
    size_t index = 0;  // Of the name.
    size_t length = 0;
  };

  SpecialTokenFinder(absl::string_view text,
                     const std::vector<std::string>& names)
      : text_(text), names_(names), next_(names.size(), 0) {
    for (size_t i = 0; i < names.size(); ++i) next_[i] = text.find(names[i]);
  }

  // The first match at or after `begin`, the longest if there are several.
  Match Next(size_t begin) {
    Match best;
    for (size_t i = 0; i < names_.size(); ++i) {
      if (next_[i] < begin) next_[i] = text_.find(names_[i], begin);
      if (next_[i] == absl::string_view::npos) continue;
      const size_t length = names_[i].size();
      if (next_[i] < best.position ||
          (next_[i] == best.position && length > best.length)) {
        best = {next_[i], i, length};
      }
    }
    return best;
  }

 private:
  absl::string_view text_;
  const std::vector<std::string>& names_;
  std::vector<size_t> next_;  // npos, or where the name occurs next.
};

}  // namespace

struct Tokenizer::State {
  std::vector<Merge> merges;
  std::vector<std::string> special_tokens;
  TokenTable tokens;
  MergeTable table;
  Vocabulary vocabulary;

  int32_t FirstSpecialToken() const {
    return kBytes + static_cast<int32_t>(merges.size());
  }
};

Tokenizer::Tokenizer(std::shared_ptr<const State> state)
    : state_(std::move(state)) {}

Tokenizer Tokenizer::Bytes() { return *FromMerges({}); }

absl::StatusOr<Tokenizer> Tokenizer::FromMerges(
    std::vector<Merge> merges, std::vector<std::string> special_tokens) {
  const size_t vocab_size = kBytes + merges.size() + special_tokens.size();
  if (vocab_size > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a vocabulary of ", vocab_size, " exceeds 32-bit ids"));
  }
  NW_RETURN_IF_ERROR(CheckSpecialTokens(special_tokens));
  auto state = std::make_shared<State>();
  for (int byte = 0; byte < kBytes; ++byte) {
    state->tokens.Add(std::string(1, static_cast<char>(byte)));
  }
  NW_RETURN_IF_ERROR(AddMerges(merges, &state->tokens));
  for (const std::string& name : special_tokens) state->tokens.Add(name);
  state->table = MergeTable(merges);
  state->merges = std::move(merges);
  state->special_tokens = std::move(special_tokens);
  const Tokenizer tokenizer(state);
  state->vocabulary = {
      .fingerprint = Fingerprint(state->merges, state->special_tokens),
      .size = static_cast<int32_t>(vocab_size),
      .end_of_text = *tokenizer.SpecialTokenId(kEndOfText)};
  return tokenizer;
}

std::vector<int32_t> Tokenizer::Encode(absl::string_view text,
                                       SpecialTokens special_tokens) const {
  std::vector<int32_t> ids;
  if (special_tokens == SpecialTokens::kAsText) {
    EncodeText(text, &ids);
    return ids;
  }
  SpecialTokenFinder finder(text, state_->special_tokens);
  size_t begin = 0;
  for (;;) {
    const SpecialTokenFinder::Match match = finder.Next(begin);
    if (match.length == 0) break;
    EncodeText(text.substr(begin, match.position - begin), &ids);
    ids.push_back(state_->FirstSpecialToken() +
                  static_cast<int32_t>(match.index));
    begin = match.position + match.length;
  }
  EncodeText(text.substr(begin), &ids);
  return ids;
}

void Tokenizer::EncodeText(absl::string_view text,
                           std::vector<int32_t>* ids) const {
  const std::vector<absl::string_view> chunks = CutAtPieces(text, kChunkBytes);
  std::vector<std::vector<int32_t>> parts(chunks.size());
  ParallelForEach(static_cast<int64_t>(chunks.size()), [&](int64_t i) {
    PieceEncoder encoder(state_->table);
    ForEachPiece(chunks[i], [&](absl::string_view piece) {
      encoder.Encode(piece, &parts[i]);
    });
  });
  for (const std::vector<int32_t>& part : parts) {
    ids->insert(ids->end(), part.begin(), part.end());
  }
}

absl::StatusOr<std::string> Tokenizer::Decode(
    absl::Span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size()) {
      return absl::OutOfRangeError(
          absl::StrCat("token id ", id, " is outside the vocabulary of ",
                       vocab_size(), " entries"));
    }
    absl::StrAppend(&text, TokenBytes(id));
  }
  return text;
}

absl::string_view Tokenizer::TokenBytes(int32_t id) const {
  NW_CHECK(id >= 0 && id < vocab_size())
      << "token id " << id << ", vocabulary of " << vocab_size();
  return state_->tokens.Get(id);
}

std::optional<int32_t> Tokenizer::SpecialTokenId(absl::string_view name) const {
  const std::vector<std::string>& names = state_->special_tokens;
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return state_->FirstSpecialToken() +
         static_cast<int32_t>(found - names.begin());
}

const Vocabulary& Tokenizer::vocabulary() const { return state_->vocabulary; }

const std::vector<Tokenizer::Merge>& Tokenizer::merges() const {
  return state_->merges;
}

const std::vector<std::string>& Tokenizer::special_tokens() const {
  return state_->special_tokens;
}

}  // namespace nextword

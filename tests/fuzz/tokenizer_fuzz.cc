#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "autograd/base/status.h"
#include "data/pretokenizer.h"
#include "data/tokenizer.h"
#include "nlohmann/json.hpp"
#include "tests/fuzz/file_fuzz.h"
#include "tests/fuzz/fuzz_file.h"

namespace nextword {
namespace {

using Json = nlohmann::json;

// As the definition has it: the earliest merge, leftmost, until none is left.
std::vector<int32_t> EncodeSlowly(
    const std::map<Tokenizer::Merge, int32_t>& merges, absl::string_view text) {
  std::vector<int32_t> ids;
  ForEachPiece(text, [&](absl::string_view piece) {
    std::vector<int32_t> symbols;
    for (const char byte : piece) symbols.push_back(static_cast<uint8_t>(byte));
    while (true) {
      int32_t best = INT32_MAX;
      size_t at = 0;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto found = merges.find({symbols[i], symbols[i + 1]});
        if (found == merges.end() || found->second >= best) continue;
        best = found->second;
        at = i;
      }
      if (best == INT32_MAX) break;
      symbols[at] = best;
      symbols.erase(symbols.begin() + at + 1);
    }
    ids.insert(ids.end(), symbols.begin(), symbols.end());
  });
  return ids;
}

// At each place the longest name that stands there is taken for its token.
std::vector<int32_t> ParseSlowly(
    const Tokenizer& tokenizer,
    const std::map<Tokenizer::Merge, int32_t>& merges, absl::string_view text) {
  std::vector<int32_t> ids;
  const auto add_text = [&](absl::string_view part) {
    const std::vector<int32_t> more = EncodeSlowly(merges, part);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  size_t begin = 0;  // Of the text that is not encoded yet.
  for (size_t at = 0; at < text.size();) {
    absl::string_view longest;
    for (const std::string& name : tokenizer.special_tokens()) {
      if (name.size() > longest.size() &&
          absl::StartsWith(text.substr(at), name)) {
        longest = name;
      }
    }
    if (longest.empty()) {
      ++at;
      continue;
    }
    add_text(text.substr(begin, at - begin));
    ids.push_back(*tokenizer.SpecialTokenId(longest));
    begin = at += longest.size();
  }
  add_text(text.substr(begin));
  return ids;
}

std::string Decoded(const Tokenizer& tokenizer,
                    const std::vector<int32_t>& ids) {
  const absl::StatusOr<std::string> text = tokenizer.Decode(ids);
  NW_CHECK_OK(text.status());
  return *text;
}

void CheckText(const Tokenizer& tokenizer,
               const std::map<Tokenizer::Merge, int32_t>& merges,
               absl::string_view text) {
  const std::vector<int32_t> ids = tokenizer.Encode(text);
  NW_CHECK(Decoded(tokenizer, ids) == text) << "text that does not come back";
  NW_CHECK(ids == EncodeSlowly(merges, text)) << "other merges were made";
  const std::vector<int32_t> parsed =
      tokenizer.Encode(text, SpecialTokens::kParse);
  NW_CHECK(Decoded(tokenizer, parsed) == text)
      << "text with special tokens that does not come back";
  NW_CHECK(parsed == ParseSlowly(tokenizer, merges, text))
      << "other special tokens were found";
}

void CheckTokenizer(const Tokenizer& tokenizer, absl::string_view input) {
  constexpr size_t kTextBytes = 300;
  std::map<Tokenizer::Merge, int32_t> merges;
  for (const Tokenizer::Merge& merge : tokenizer.merges()) {
    merges.emplace(merge, 256 + static_cast<int32_t>(merges.size()));
  }
  CheckText(tokenizer, merges, input.substr(0, kTextBytes));
  const std::string names =
      absl::StrJoin(tokenizer.special_tokens(), " a").substr(0, kTextBytes);
  CheckText(tokenizer, merges, names);
  // The last tokens, of which a hostile file makes the longest.
  const int32_t last = tokenizer.vocab_size() - 1;
  for (int32_t id = last; id > std::max(last - 4, 0); --id) {
    const absl::string_view token = tokenizer.TokenBytes(id);
    CheckText(tokenizer, merges, token.substr(0, kTextBytes));
  }
  NW_CHECK(!tokenizer.Decode({last + 1}).ok());
  NW_CHECK(!tokenizer.Decode({-1}).ok());
  for (const std::string& name : tokenizer.special_tokens()) {
    NW_CHECK(tokenizer.TokenBytes(*tokenizer.SpecialTokenId(name)) == name);
  }
}

void CheckSavedAgain(const Tokenizer& tokenizer) {
  const std::string path = FuzzPath("again.json");
  NW_CHECK_OK(tokenizer.Save(path));
  const absl::StatusOr<Tokenizer> again = Tokenizer::Load(path);
  NW_CHECK_OK(again.status());
  NW_CHECK(again->vocabulary() == tokenizer.vocabulary());
  NW_CHECK(again->merges() == tokenizer.merges());
  NW_CHECK(again->special_tokens() == tokenizer.special_tokens());
}

bool Accepts(absl::string_view contents) {
  const std::string path = WriteFuzzFile("fuzz.json", contents);
  const absl::StatusOr<Tokenizer> tokenizer = Tokenizer::Load(path);
  if (!tokenizer.ok()) {
    CheckRefusal(tokenizer.status(), absl::StrCat(path, ":"));
    return false;
  }
  CheckTokenizer(*tokenizer, contents);
  CheckSavedAgain(*tokenizer);
  return true;
}

// With the size and the fingerprint that its merges and names have, if they
// make a tokenizer.
std::string PutRight(absl::string_view input) {
  Json json = Json::parse(input.begin(), input.end(), nullptr,
                          /*allow_exceptions=*/false);
  try {
    std::vector<Tokenizer::Merge> merges;
    for (const Json& merge : json.at("merges")) {
      const Json& left = merge.at(0);
      const Json& right = merge.at(1);
      if (!left.is_number_integer() || !right.is_number_integer()) return "";
      merges.emplace_back(left.get<int32_t>(), right.get<int32_t>());
    }
    const absl::StatusOr<Tokenizer> tokenizer = Tokenizer::FromMerges(
        merges, json.at("special_tokens").get<std::vector<std::string>>());
    if (!tokenizer.ok()) return "";
    json["vocab_size"] = tokenizer->vocab_size();
    json["fingerprint"] = absl::StrFormat("%016x", tokenizer->fingerprint());
  } catch (const Json::exception&) {
    return "";
  }
  return json.dump();
}

}  // namespace

FuzzResult DriveTokenizer(absl::string_view input) {
  if (Accepts(input)) return FuzzResult::kAccepted;
  return Accepts(PutRight(input)) ? FuzzResult::kPartly : FuzzResult::kRefused;
}

}  // namespace nextword

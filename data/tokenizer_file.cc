// The file of a tokenizer: Tokenizer::Load and Tokenizer::Save.
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "data/tokenizer.h"
#include "nlohmann/json.hpp"

namespace nextword {
namespace {

// To write, in our order. To read there is nlohmann::json, which does not copy
// a value that it has parsed: copies recurse into nested ones.
using OrderedJson = nlohmann::ordered_json;
using Json = nlohmann::json;

constexpr char kFormat[] = "nextword tokenizer";
constexpr int kVersion = 1;

std::string Hex(uint64_t value) { return absl::StrFormat("%016x", value); }

OrderedJson ToJson(const Tokenizer& tokenizer) {
  return {{"format", kFormat},
          {"version", kVersion},
          {"vocab_size", tokenizer.vocab_size()},
          {"fingerprint", Hex(tokenizer.fingerprint())},
          {"special_tokens", tokenizer.special_tokens()},
          {"merges", tokenizer.merges()}};
}

// The library would cut off a fraction and let a number that is too large wrap.
bool IsInt32(const Json& json) {
  return json.is_number_integer() &&
         std::abs(json.get<double>()) <= std::numeric_limits<int32_t>::max();
}

absl::StatusOr<int32_t> IntegerAt(const Json& json, const char* key) {
  if (IsInt32(json.at(key))) return json[key].get<int32_t>();
  return absl::InvalidArgumentError(
      absl::StrCat(key, " is no integer of 32 bits"));
}

absl::StatusOr<std::vector<Tokenizer::Merge>> MergesFromJson(const Json& json) {
  std::vector<Tokenizer::Merge> merges;
  for (const Json& merge : json.get_ref<const Json::array_t&>()) {
    if (!merge.is_array() || merge.size() != 2 || !IsInt32(merge[0]) ||
        !IsInt32(merge[1])) {
      return absl::InvalidArgumentError(
          absl::StrCat("merge ", merges.size(), " is no pair of ids"));
    }
    merges.push_back(merge.get<Tokenizer::Merge>());
  }
  return merges;
}

// Throws Json::exception when a field is missing or of another type.
absl::StatusOr<Tokenizer> FromJson(const Json& json) {
  const auto format = json.at("format").get<std::string>();
  NW_ASSIGN_OR_RETURN(const int32_t version, IntegerAt(json, "version"));
  if (format != kFormat || version != kVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("is \"", format, "\" version ", version, ", wanted \"",
                     kFormat, "\" version ", kVersion));
  }
  NW_ASSIGN_OR_RETURN(std::vector<Tokenizer::Merge> merges,
                      MergesFromJson(json.at("merges")));
  NW_ASSIGN_OR_RETURN(
      const Tokenizer tokenizer,
      Tokenizer::FromMerges(
          std::move(merges),
          json.at("special_tokens").get<std::vector<std::string>>()));
  NW_ASSIGN_OR_RETURN(const int32_t vocab_size, IntegerAt(json, "vocab_size"));
  if (vocab_size != tokenizer.vocab_size()) {
    return absl::DataLossError(absl::StrCat("says a vocabulary of ", vocab_size,
                                            ", has ", tokenizer.vocab_size(),
                                            "; the file is damaged"));
  }
  const auto fingerprint = json.at("fingerprint").get<std::string>();
  if (fingerprint != Hex(tokenizer.fingerprint())) {
    return absl::DataLossError(absl::StrCat(
        "says fingerprint ", fingerprint, ", has ",
        Hex(tokenizer.fingerprint()), "; the file was damaged or edited"));
  }
  return tokenizer;
}

absl::StatusOr<Tokenizer> Parse(absl::string_view text) {
  try {
    return FromJson(Json::parse(text.begin(), text.end()));
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("is no tokenizer: ", error.what()));
  }
}

}  // namespace

absl::StatusOr<Tokenizer> Tokenizer::Load(const std::string& path) {
  NW_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  absl::StatusOr<Tokenizer> tokenizer = Parse(file.bytes());
  if (tokenizer.ok()) return tokenizer;
  return absl::Status(tokenizer.status().code(),
                      absl::StrCat(path, ": ", tokenizer.status().message()));
}

absl::Status Tokenizer::Save(const std::string& path) const {
  std::string text;
  try {
    text = absl::StrCat(ToJson(*this).dump(), "\n");
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": cannot save the tokenizer: ", error.what()));
  }
  return WriteFileAtomically(path, text);
}

}  // namespace nextword

// The file of a tokenizer: Tokenizer::Load and Tokenizer::Save.
#include <cstdint>
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

using Json = nlohmann::ordered_json;

constexpr char kFormat[] = "nextword tokenizer";
constexpr int kVersion = 1;

std::string Hex(uint64_t value) { return absl::StrFormat("%016x", value); }

Json ToJson(const Tokenizer& tokenizer) {
  return {{"format", kFormat},
          {"version", kVersion},
          {"vocab_size", tokenizer.vocab_size()},
          {"fingerprint", Hex(tokenizer.fingerprint())},
          {"special_tokens", tokenizer.special_tokens()},
          {"merges", tokenizer.merges()}};
}

// Throws Json::exception when a field is missing or of another type.
absl::StatusOr<Tokenizer> FromJson(const Json& json) {
  const auto format = json.at("format").get<std::string>();
  const auto version = json.at("version").get<int64_t>();
  if (format != kFormat || version != kVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("is \"", format, "\" version ", version, ", wanted \"",
                     kFormat, "\" version ", kVersion));
  }
  NW_ASSIGN_OR_RETURN(
      const Tokenizer tokenizer,
      Tokenizer::FromMerges(
          json.at("merges").get<std::vector<Tokenizer::Merge>>(),
          json.at("special_tokens").get<std::vector<std::string>>()));
  const auto vocab_size = json.at("vocab_size").get<int64_t>();
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

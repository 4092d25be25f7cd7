#include "data/corpus_record.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "nlohmann/json.hpp"

namespace nextword {
namespace {

// To write, in our order. To read there is nlohmann::json, which does not copy
// a value that it has parsed: copies recurse into nested ones.
using OrderedJson = nlohmann::ordered_json;
using Json = nlohmann::json;

constexpr char kFormat[] = "nextword corpus";
constexpr int kVersion = 1;

// As text: JSON readers round integers of 64 bits.
std::string Hex(uint64_t value) { return absl::StrFormat("%016x", value); }

// A value that is no such text becomes 0, which no file is compared equal to
// but by chance: the corpus is then made anew.
uint64_t FromHex(const Json& json) {
  uint64_t value = 0;
  const auto text = json.get<std::string>();
  return absl::SimpleHexAtoi(text, &value) ? value : 0;
}

OrderedJson ToJson(const FileStamp& stamp) {
  return {{"path", stamp.path},
          {"bytes", stamp.bytes},
          {"modified_ns", stamp.modified_ns},
          {"hash", Hex(stamp.hash)}};
}

FileStamp StampFromJson(const Json& json) {
  return {.path = json.at("path").get<std::string>(),
          .bytes = json.at("bytes").get<uint64_t>(),
          .modified_ns = json.at("modified_ns").get<int64_t>(),
          .hash = FromHex(json.at("hash"))};
}

OrderedJson ToJson(const std::vector<FileStamp>& stamps) {
  OrderedJson json = OrderedJson::array();
  for (const FileStamp& stamp : stamps) json.push_back(ToJson(stamp));
  return json;
}

std::vector<FileStamp> StampsFromJson(const Json& json) {
  std::vector<FileStamp> stamps;
  for (const Json& stamp : json) stamps.push_back(StampFromJson(stamp));
  return stamps;
}

OrderedJson ToJson(const CorpusRecord& record) {
  const CorpusInputs& inputs = record.inputs;
  OrderedJson json = {
      {"format", kFormat},
      {"version", kVersion},
      {"sources", ToJson(inputs.sources)},
      {"held_out_sources", ToJson(inputs.held_out_sources)},
      {"held_out_fraction", inputs.held_out_fraction},
      {"tokenizer_vocab_size", inputs.tokenizer_vocab_size},
      {"tokenizer_fingerprint", Hex(record.tokenizer_fingerprint)},
      {"train_checksum", Hex(record.train_checksum)}};
  if (inputs.tokenizer.has_value()) {
    json["tokenizer"] = ToJson(*inputs.tokenizer);
  }
  if (record.held_out_checksum.has_value()) {
    json["held_out_checksum"] = Hex(*record.held_out_checksum);
  }
  return json;
}

// Throws Json::exception when a field is missing or of another type.
absl::StatusOr<CorpusRecord> FromJson(const Json& json) {
  if (json.at("format") != kFormat || json.at("version") != kVersion) {
    return absl::InvalidArgumentError("is of another format or version");
  }
  CorpusRecord record;
  CorpusInputs& inputs = record.inputs;
  inputs.sources = StampsFromJson(json.at("sources"));
  inputs.held_out_sources = StampsFromJson(json.at("held_out_sources"));
  inputs.held_out_fraction = json.at("held_out_fraction").get<double>();
  inputs.tokenizer_vocab_size = json.at("tokenizer_vocab_size").get<int32_t>();
  if (json.contains("tokenizer")) {
    inputs.tokenizer = StampFromJson(json["tokenizer"]);
  }
  record.tokenizer_fingerprint = FromHex(json.at("tokenizer_fingerprint"));
  record.train_checksum = FromHex(json.at("train_checksum"));
  if (json.contains("held_out_checksum")) {
    record.held_out_checksum = FromHex(json["held_out_checksum"]);
  }
  return record;
}

}  // namespace

absl::StatusOr<CorpusRecord> CorpusRecord::Load(const std::string& path) {
  NW_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  try {
    return FromJson(Json::parse(text));
  } catch (const Json::exception& error) {
    return absl::DataLossError(
        absl::StrCat(path, ": is no corpus record: ", error.what()));
  }
}

absl::Status CorpusRecord::Save(const std::string& path) const {
  // A path need not be UTF-8; what JSON cannot hold is replaced, and the corpus
  // is then made anew each time.
  const std::string text =
      ToJson(*this).dump(2, ' ', false, OrderedJson::error_handler_t::replace);
  return WriteFileAtomically(path, absl::StrCat(text, "\n"));
}

std::vector<FileStamp*> StampsOf(CorpusInputs* inputs) {
  std::vector<FileStamp*> stamps;
  for (FileStamp& stamp : inputs->sources) stamps.push_back(&stamp);
  for (FileStamp& stamp : inputs->held_out_sources) stamps.push_back(&stamp);
  if (inputs->tokenizer.has_value()) stamps.push_back(&*inputs->tokenizer);
  return stamps;
}

absl::StatusOr<CorpusInputs> Hashed(CorpusInputs inputs) {
  for (FileStamp* stamp : StampsOf(&inputs)) {
    NW_ASSIGN_OR_RETURN(*stamp, Hashed(*stamp));
  }
  return inputs;
}

}  // namespace nextword

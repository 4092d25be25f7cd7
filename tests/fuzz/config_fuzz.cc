#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "autograd/base/status.h"
#include "configs/config.h"
#include "configs/model_config.h"
#include "configs/validate.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "tests/fuzz/file_fuzz.h"
#include "tests/fuzz/fuzz_file.h"

namespace nextword {
namespace {

class SilentErrors : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, google::protobuf::io::ColumnNumber,
                const std::string&) override {}
};

// Messages are compared as text: a NaN is no reason to differ.
std::string Print(const TrainConfig& config) {
  std::string text;
  NW_CHECK(google::protobuf::TextFormat::PrintToString(config, &text));
  return text;
}

// What our reader takes, protobuf's takes too, and nothing else; for the same
// config.
void CompareWithProtobuf(const std::string& text,
                         const absl::StatusOr<TrainConfig>& ours) {
  SilentErrors errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  TrainConfig theirs;
  if (!parser.ParseFromString(text, &theirs)) {
    NW_CHECK(!ours.ok()) << "protobuf refuses it";
    return;
  }
  NW_CHECK_OK(ours.status());
  NW_CHECK(Print(theirs) == Print(*ours)) << "protobuf reads something else";
}

void CheckWrittenAgain(const TrainConfig& config) {
  const std::string text = Print(config);
  const std::string path = WriteFuzzFile("again.textproto", text);
  const absl::StatusOr<TrainConfig> again = LoadTrainConfig(path, {});
  NW_CHECK_OK(again.status());
  NW_CHECK(Print(*again) == text) << "another config once written";
}

void CheckResolved(const ModelConfig& model) {
  const absl::StatusOr<ModelConfig> resolved = ResolveModel(model, 257);
  if (!resolved.ok()) return;
  NW_CHECK_OK(ValidateModel(*resolved));
  const absl::StatusOr<ModelConfig> again = ResolveModel(*resolved, 257);
  NW_CHECK_OK(again.status());
  NW_CHECK(again->SerializeAsString() == resolved->SerializeAsString())
      << "a resolved model resolves to another";
}

}  // namespace

FuzzResult DriveConfig(absl::string_view input) {
  std::vector<std::string> overrides = absl::StrSplit(input, '\0');
  const std::string text = overrides[0];
  overrides.erase(overrides.begin());
  const std::string path = WriteFuzzFile("config.textproto", text);
  const absl::StatusOr<TrainConfig> config = LoadTrainConfig(path, overrides);
  const absl::StatusOr<TrainConfig> file_only = LoadTrainConfig(path, {});
  CompareWithProtobuf(text, file_only);
  if (!config.ok()) {
    // All of its errors are of the file, or of an override.
    if (!absl::StartsWith(config.status().message(), "--set ")) {
      CheckRefusal(config.status(), absl::StrCat(path, ":"));
    }
    return FuzzResult::kRefused;
  }
  NW_CHECK_OK(file_only.status());
  CheckWrittenAgain(*config);
  const absl::Status fit = ValidateTrainConfig(*config, ConfigUse::kTrain);
  const absl::Status sane = ValidateTrainConfig(*config, ConfigUse::kCheck);
  if (!sane.ok()) {
    NW_CHECK(!fit.ok()) << "fit to train with, but " << sane;
    return FuzzResult::kPartly;
  }
  NW_CHECK_OK(ValidateModel(config->model()));
  CheckResolved(config->model());
  return fit.ok() ? FuzzResult::kAccepted : FuzzResult::kPartly;
}

}  // namespace nextword

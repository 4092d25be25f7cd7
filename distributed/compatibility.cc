#include "distributed/compatibility.h"

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "autograd/base/status.h"
#include "google/protobuf/text_format.h"

namespace nextword {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::TextFormat;

// How a model is trained, not what it computes.
const std::set<std::string>& FreeFields() {
  static const auto* const fields =
      new std::set<std::string>{"dropout", "init_std", "recompute"};
  return *fields;
}

std::string ValueOf(const ModelConfig& model, const FieldDescriptor* field) {
  std::string value;
  TextFormat::PrintFieldValueToString(model, field, -1, &value);
  return value;
}

// One line per field in which the models differ.
std::string DifferencesOf(const ModelConfig& seen, const ModelConfig& saved) {
  std::string lines;
  const auto* const descriptor = ModelConfig::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* const field = descriptor->field(i);
    if (FreeFields().count(field->name()) > 0) continue;
    const std::string value = ValueOf(seen, field);
    const std::string wanted = ValueOf(saved, field);
    if (value == wanted) continue;
    absl::StrAppend(&lines, "\nmodel.", field->name(), ": is ", value,
                    ", the checkpoint's ", wanted);
  }
  return lines;
}

}  // namespace

absl::Status CheckCompatible(const Checkpoint& checkpoint,
                             const TrainConfig& config,
                             const ModelConfig& model,
                             const Tokenizer& tokenizer) {
  const CheckpointManifest& manifest = checkpoint.manifest();
  const std::string& name = checkpoint.directory();
  if (manifest.seed() != config.seed()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s was trained with seed %d, the config says %d; resume with --set "
        "seed=%d",
        name, manifest.seed(), config.seed(), manifest.seed()));
  }
  if (manifest.step() > config.steps()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s has done %d steps, the config wants %d in all",
                        name, manifest.step(), config.steps()));
  }
  NW_ASSIGN_OR_RETURN(const Tokenizer saved,
                      Tokenizer::Load(checkpoint.tokenizer_path()));
  if (saved.fingerprint() != tokenizer.fingerprint()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s was trained with another tokenizer (fingerprint %016x) than the "
        "run's (%016x); resume with that of the checkpoint: --set "
        "data.tokenizer=%s",
        name, saved.fingerprint(), tokenizer.fingerprint(),
        checkpoint.tokenizer_path()));
  }
  const std::string differences = DifferencesOf(model, manifest.model());
  if (!differences.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, ": is a checkpoint of another model", differences));
  }
  return absl::OkStatus();
}

}  // namespace nextword

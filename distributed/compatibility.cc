#include "distributed/compatibility.h"

#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/base/hash.h"
#include "autograd/base/status.h"
#include "configs/batch_config.h"
#include "distributed/config_facts.h"

namespace nextword {
namespace {

// How a model is trained, not what it computes.
const std::set<std::string>& FreeModelFields() {
  static const auto* const fields = new std::set<std::string>{
      "dropout", "init_std", "recompute", "residual_in_bf16"};
  return *fields;
}

// Where things are, and what computes.
bool IsPlace(const std::string& field) {
  return field == "run_dir" || field == "device" || field == "threads" ||
         field == "cuda_graph" || absl::StartsWith(field, "data.") ||
         absl::StartsWith(field, "distributed.");
}

std::string Difference(absl::string_view field, absl::string_view seen,
                       absl::string_view wanted) {
  return absl::StrCat(field, ": is ", seen, ", the checkpoint's ", wanted);
}

void CompareModels(const ModelConfig& seen, const ModelConfig& saved,
                   std::vector<std::string>* errors) {
  const std::map<std::string, std::string> wanted = FieldValues(saved);
  for (const auto& [field, value] : FieldValues(seen)) {
    if (FreeModelFields().count(field) > 0) continue;
    if (value == wanted.at(field)) continue;
    errors->push_back(
        Difference(absl::StrCat("model.", field), value, wanted.at(field)));
  }
}

// What a position in the data, a number of sequences, means.
void CompareData(const Checkpoint& checkpoint, const TrainConfig& config,
                 uint64_t corpus_fingerprint,
                 std::vector<std::string>* errors) {
  const TrainConfig& saved = checkpoint.config();
  const int64_t length = SequenceLength(config.batch(), config.model());
  const int64_t wanted = SequenceLength(saved.batch(), saved.model());
  if (length != wanted) {
    errors->push_back(Difference("batch.sequence_length", absl::StrCat(length),
                                 absl::StrCat(wanted)));
  }
  const auto text = [](bool value) { return value ? "true" : "false"; };
  if (config.data().document_mask() != saved.data().document_mask()) {
    errors->push_back(Difference("data.document_mask",
                                 text(config.data().document_mask()),
                                 text(saved.data().document_mask())));
  }
  const std::string corpus = HexDigits(corpus_fingerprint);
  const std::string& saved_corpus = checkpoint.manifest().corpus_fingerprint();
  if (corpus != saved_corpus) {
    errors->push_back(absl::StrCat(
        Difference("data: the corpus", corpus, saved_corpus),
        "; of the same text, split and tokenizer it would be the same"));
  }
}

absl::Status CompareTokenizers(const Checkpoint& checkpoint,
                               const Tokenizer& tokenizer,
                               std::vector<std::string>* errors) {
  NW_ASSIGN_OR_RETURN(const Tokenizer saved,
                      Tokenizer::Load(checkpoint.tokenizer_path()));
  if (saved.fingerprint() == tokenizer.fingerprint()) return absl::OkStatus();
  errors->push_back(absl::StrCat(
      Difference("data.tokenizer: another tokenizer, whose fingerprint",
                 HexDigits(tokenizer.fingerprint()),
                 HexDigits(saved.fingerprint())),
      "; resume with --set data.tokenizer=", checkpoint.tokenizer_path()));
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckCompatible(const Checkpoint& checkpoint,
                             const TrainConfig& config,
                             const ModelConfig& model,
                             const Tokenizer& tokenizer,
                             uint64_t corpus_fingerprint) {
  const CheckpointManifest& manifest = checkpoint.manifest();
  const TrainConfig& saved = checkpoint.config();
  std::vector<std::string> errors;
  if (manifest.seed() != config.seed()) {
    errors.push_back(Difference("seed", absl::StrCat(config.seed()),
                                absl::StrCat(manifest.seed())));
  }
  if (manifest.step() > config.steps()) {
    errors.push_back(absl::StrCat("steps: is ", config.steps(),
                                  ", the checkpoint has done ",
                                  manifest.step()));
  }
  CompareModels(model, manifest.model(), &errors);
  if (config.optimizer().kind() != saved.optimizer().kind()) {
    errors.push_back(Difference("optimizer.kind",
                                OptimizerKind_Name(config.optimizer().kind()),
                                OptimizerKind_Name(saved.optimizer().kind())));
  }
  NW_RETURN_IF_ERROR(CompareTokenizers(checkpoint, tokenizer, &errors));
  CompareData(checkpoint, config, corpus_fingerprint, &errors);
  if (errors.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      checkpoint.directory(),
      ": is a checkpoint of another run; resume with what it was trained with, "
      "or begin anew in another run_dir\n",
      absl::StrJoin(errors, "\n")));
}

std::vector<std::string> ChangedFields(const TrainConfig& saved,
                                       const TrainConfig& config) {
  const std::map<std::string, std::string> before = FieldValues(saved);
  std::vector<std::string> changes;
  for (const auto& [field, value] : FieldValues(config)) {
    if (IsPlace(field) || value == before.at(field)) continue;
    changes.push_back(
        absl::StrCat(field, ": ", before.at(field), " -> ", value));
  }
  return changes;
}

}  // namespace nextword

#include "distributed/checkpoint.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "autograd/base/directory.h"
#include "autograd/base/file.h"
#include "autograd/base/file_hash.h"
#include "autograd/base/hash.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "configs/config.h"
#include "distributed/manifest.h"
#include "google/protobuf/text_format.h"

namespace nextword {
namespace {

constexpr char kWeightsFile[] = "model.safetensors";
constexpr char kMomentsFile[] = "optimizer.safetensors";
constexpr char kTokenizerFile[] = "tokenizer.json";
constexpr char kConfigFile[] = "config.textproto";
constexpr char kTemporaryPrefix[] = ".tmp-";

std::string Join(const std::string& directory, absl::string_view name) {
  return absl::StrCat(directory, "/", name);
}

// Writes and syncs one file and records it in the manifest. The checksum is of
// the bytes that were meant, not of those that reading them back gives.
absl::Status WriteRecorded(
    const std::string& directory, const std::string& name,
    const std::function<absl::Status(const ByteSink&)>& write,
    CheckpointManifest* manifest) {
  NW_ASSIGN_OR_RETURN(FileWriter file,
                      FileWriter::Create(Join(directory, name)));
  StreamHash hash;
  uint64_t size = 0;
  NW_RETURN_IF_ERROR(write([&](absl::string_view bytes) {
    hash.Update(bytes);
    size += bytes.size();
    return file.Append(bytes);
  }));
  NW_RETURN_IF_ERROR(file.SyncAndClose());
  CheckpointManifest::FileRecord& record = *manifest->add_file();
  record.set_name(name);
  record.set_size(size);
  record.set_xxh3(HexDigits(hash.Digest()));
  return absl::OkStatus();
}

absl::Status WriteTensors(const std::string& directory, const std::string& name,
                          absl::Span<const NamedTensor> tensors,
                          const ElementWriter& elements,
                          CheckpointManifest* manifest) {
  return WriteRecorded(
      directory, name,
      [&](const ByteSink& sink) {
        return WriteSafetensors(tensors, {{"format", "nextword"}}, sink,
                                elements);
      },
      manifest);
}

absl::Status WriteText(const std::string& directory, const std::string& name,
                       const std::string& text, CheckpointManifest* manifest) {
  return WriteRecorded(
      directory, name, [&](const ByteSink& sink) { return sink(text); },
      manifest);
}

CheckpointManifest ManifestOf(const CheckpointState& state) {
  CheckpointManifest manifest;
  manifest.set_step(state.step);
  manifest.set_next_sequence(state.next_sequence);
  manifest.set_seed(state.config.seed());
  manifest.set_corpus_fingerprint(HexDigits(state.corpus_fingerprint));
  if (state.held_out_fingerprint.has_value()) {
    manifest.set_held_out_fingerprint(HexDigits(*state.held_out_fingerprint));
  }
  if (state.held_out_loss.has_value()) {
    manifest.set_held_out_loss(*state.held_out_loss);
  }
  *manifest.mutable_run() = state.run;
  manifest.set_tokenizer_fingerprint(HexDigits(state.tokenizer_fingerprint));
  *manifest.mutable_model() = state.model;
  for (const auto& [name, version] : state.versions) {
    CheckpointManifest::Version& entry = *manifest.add_version();
    entry.set_name(name);
    entry.set_version(version);
  }
  return manifest;
}

absl::Status WriteFiles(const std::string& directory,
                        const CheckpointState& state) {
  NW_RETURN_IF_ERROR(MakeDirectories(directory));
  CheckpointManifest manifest = ManifestOf(state);
  std::string config;
  google::protobuf::TextFormat::PrintToString(state.config, &config);
  NW_RETURN_IF_ERROR(WriteTensors(directory, kWeightsFile, state.weights,
                                  state.weight_writer, &manifest));
  NW_RETURN_IF_ERROR(WriteTensors(directory, kMomentsFile, state.moments,
                                  state.moment_writer, &manifest));
  NW_RETURN_IF_ERROR(
      WriteText(directory, kTokenizerFile, state.tokenizer, &manifest));
  NW_RETURN_IF_ERROR(WriteText(directory, kConfigFile, config, &manifest));
  if (state.before_publishing) NW_RETURN_IF_ERROR(state.before_publishing());
  NW_RETURN_IF_ERROR(WriteManifest(directory, std::move(manifest)));
  return SyncDirectory(directory);
}

std::string TemporaryDirectory(const std::string& run_dir, int64_t step) {
  return absl::StrCat(CheckpointsDirectory(run_dir), "/", kTemporaryPrefix,
                      "step-", step);
}

// Creates RUN/checkpoints, durably.
absl::Status MakeCheckpointsDirectory(const std::string& run_dir) {
  const std::string checkpoints = CheckpointsDirectory(run_dir);
  if (IsDirectory(checkpoints)) return absl::OkStatus();
  NW_RETURN_IF_ERROR(MakeDirectories(checkpoints));
  NW_RETURN_IF_ERROR(SyncDirectory(run_dir));
  return SyncDirectory(Join(run_dir, ".."));
}

absl::Status VerifyFile(const std::string& path,
                        const CheckpointManifest::FileRecord& record) {
  NW_ASSIGN_OR_RETURN(const FileReader file, FileReader::Open(path));
  if (file.size() != record.size()) {
    return absl::DataLossError(absl::StrCat(path, ": has ", file.size(),
                                            " bytes, wanted ", record.size()));
  }
  NW_ASSIGN_OR_RETURN(const uint64_t hash, HashFile(file));
  const std::string checksum = HexDigits(hash);
  if (checksum != record.xxh3()) {
    return absl::DataLossError(
        absl::StrCat(path, ": is damaged: its checksum is ", checksum,
                     ", wanted ", record.xxh3()));
  }
  return absl::OkStatus();
}

// The manifest's files must be ours, each once: names are not trusted.
absl::Status VerifyFiles(const std::string& directory,
                         const CheckpointManifest& manifest) {
  std::set<std::string> expected = {kWeightsFile, kMomentsFile, kTokenizerFile,
                                    kConfigFile};
  for (const CheckpointManifest::FileRecord& record : manifest.file()) {
    if (expected.erase(record.name()) == 1) continue;
    return absl::DataLossError(absl::StrCat(
        Join(directory, kManifestFile), ": lists the file ", record.name(),
        ", which is none of a checkpoint or is listed twice"));
  }
  if (!expected.empty()) {
    return absl::DataLossError(absl::StrCat(Join(directory, kManifestFile),
                                            ": does not list ",
                                            absl::StrJoin(expected, ", ")));
  }
  std::vector<absl::Status> statuses(manifest.file_size());
  ParallelForEach(manifest.file_size(), [&](int64_t i) {
    const CheckpointManifest::FileRecord& record = manifest.file(i);
    statuses[i] = VerifyFile(Join(directory, record.name()), record);
  });
  for (const absl::Status& status : statuses) NW_RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

// Adds a line for every tensor on which the file and `tensors` disagree.
void CompareTensors(const SafetensorsFile& file,
                    absl::Span<const NamedTensor> tensors,
                    std::vector<std::string>* errors) {
  std::set<std::string> names;
  for (const NamedTensor& named : tensors) {
    names.insert(named.name);
    const absl::Status status =
        file.Check(named.name, named.tensor.dtype(), named.tensor.shape());
    if (!status.ok()) errors->emplace_back(status.message());
  }
  for (const auto& [name, entry] : file.entries()) {
    if (names.count(name) > 0) continue;
    errors->push_back(absl::StrCat(file.path(), ": tensor ", name,
                                   " is not part of the model"));
  }
}

absl::Status ToStatus(const std::string& directory,
                      const std::vector<std::string>& errors) {
  if (errors.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(directory, ": is a checkpoint of another shape\n",
                   absl::StrJoin(errors, "\n")));
}

absl::Status ReadAll(const SafetensorsFile& file,
                     absl::Span<const NamedTensor> tensors) {
  for (const NamedTensor& named : tensors) {
    Tensor tensor = named.tensor;
    NW_RETURN_IF_ERROR(file.Read(named.name, &tensor));
  }
  return absl::OkStatus();
}

}  // namespace

std::string CheckpointsDirectory(const std::string& run_dir) {
  return Join(run_dir, "checkpoints");
}

std::string CheckpointDirectory(const std::string& run_dir, int64_t step) {
  return absl::StrFormat("%s/step-%08d", CheckpointsDirectory(run_dir), step);
}

absl::Status RemoveLeftovers(const std::string& run_dir) {
  const std::string checkpoints = CheckpointsDirectory(run_dir);
  if (!IsDirectory(checkpoints)) return absl::OkStatus();
  NW_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                      ListDirectory(checkpoints));
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, kTemporaryPrefix)) continue;
    NW_RETURN_IF_ERROR(RemoveTree(Join(checkpoints, name)));
  }
  return absl::OkStatus();
}

absl::Status SaveCheckpoint(const std::string& run_dir,
                            const CheckpointState& state) {
  NW_RETURN_IF_ERROR(MakeCheckpointsDirectory(run_dir));
  NW_RETURN_IF_ERROR(RemoveLeftovers(run_dir));
  const std::string temporary = TemporaryDirectory(run_dir, state.step);
  absl::Status status = WriteFiles(temporary, state);
  if (status.ok()) {
    status =
        ReplaceDirectory(temporary, CheckpointDirectory(run_dir, state.step));
  }
  if (!status.ok()) RemoveTree(temporary).IgnoreError();
  return status;
}

absl::Status RemoveCheckpoint(const std::string& run_dir, int64_t step) {
  const std::string temporary = TemporaryDirectory(run_dir, step);
  NW_RETURN_IF_ERROR(RemoveTree(temporary));
  NW_RETURN_IF_ERROR(
      ReplaceDirectory(CheckpointDirectory(run_dir, step), temporary));
  return RemoveTree(temporary);
}

absl::StatusOr<Checkpoint> Checkpoint::Open(const std::string& directory) {
  NW_ASSIGN_OR_RETURN(CheckpointManifest manifest, LoadManifest(directory));
  NW_RETURN_IF_ERROR(VerifyFiles(directory, manifest));
  NW_ASSIGN_OR_RETURN(SafetensorsFile weights,
                      SafetensorsFile::Open(Join(directory, kWeightsFile)));
  NW_ASSIGN_OR_RETURN(SafetensorsFile moments,
                      SafetensorsFile::Open(Join(directory, kMomentsFile)));
  Checkpoint checkpoint(directory, std::move(manifest), std::move(weights),
                        std::move(moments));
  NW_ASSIGN_OR_RETURN(checkpoint.config_,
                      LoadTrainConfig(Join(directory, kConfigFile), {}));
  return checkpoint;
}

std::string Checkpoint::tokenizer_path() const {
  return Join(directory_, kTokenizerFile);
}

absl::Status Checkpoint::Check(absl::Span<const NamedTensor> weights,
                               absl::Span<const NamedTensor> moments) const {
  std::vector<std::string> errors;
  CompareTensors(weights_, weights, &errors);
  CompareTensors(moments_, moments, &errors);
  return ToStatus(directory_, errors);
}

absl::Status Checkpoint::Read(absl::Span<const NamedTensor> weights,
                              absl::Span<const NamedTensor> moments) const {
  NW_RETURN_IF_ERROR(Check(weights, moments));
  NW_RETURN_IF_ERROR(ReadAll(weights_, weights));
  return ReadAll(moments_, moments);
}

absl::Status Checkpoint::ReadWeights(
    absl::Span<const NamedTensor> weights) const {
  std::vector<std::string> errors;
  CompareTensors(weights_, weights, &errors);
  NW_RETURN_IF_ERROR(ToStatus(directory_, errors));
  return ReadAll(weights_, weights);
}

absl::Status Checkpoint::ReadWeight(const std::string& name, int64_t first,
                                    Tensor* into) const {
  return weights_.ReadPart(name, first, into);
}

absl::Status Checkpoint::ReadMoment(const std::string& name, int64_t first,
                                    Tensor* into) const {
  return moments_.ReadPart(name, first, into);
}

}  // namespace nextword

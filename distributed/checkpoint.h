// A checkpoint: all that a run needs to go on as if it had not stopped.
//
// A folder RUN/checkpoints/step-00000100 with
//   model.safetensors       weights
//   optimizer.safetensors   moments
//   tokenizer.json          the tokenizer's file
//   config.textproto        the run's config
//   manifest.textproto      step, data position, sizes and checksums
// It is written under a temporary name, synced and renamed, manifest last: a
// folder of that name is complete whenever the writer dies. One writer per run.
#ifndef NEXTWORD_DISTRIBUTED_CHECKPOINT_H_
#define NEXTWORD_DISTRIBUTED_CHECKPOINT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "configs/train_config.pb.h"
#include "distributed/manifest.pb.h"
#include "distributed/safetensors.h"

namespace nextword {

// What is saved.
struct CheckpointState {
  int64_t step = 0;            // Optimizer steps done.
  uint64_t next_sequence = 0;  // The loader's position.
  uint64_t tokenizer_fingerprint = 0;
  std::string tokenizer;  // The bytes of the tokenizer's file.
  TrainConfig config;     // As the run was started.
  ModelConfig model;      // Resolved.
  std::map<std::string, std::string> versions;  // Library or machine: version.
  uint64_t corpus_fingerprint = 0;              // Of what is trained on.
  std::optional<uint64_t> held_out_fingerprint;
  std::optional<double> held_out_loss;  // After this step, if evaluated.
  RunState run;
  // With a writer, they may be declared only.
  std::vector<NamedTensor> weights, moments;
  ElementWriter weight_writer = {}, moment_writer = {};
  // Called when all files are written and before they are a checkpoint: to make
  // durable what must not be older than it.
  std::function<absl::Status()> before_publishing = nullptr;
};

// RUN/checkpoints, and the folder of one step in it.
std::string CheckpointsDirectory(const std::string& run_dir);
std::string CheckpointDirectory(const std::string& run_dir, int64_t step);

// Writes the checkpoint of `state.step`, in place of an older one of that step.
// When it returns OK, the checkpoint survives a power cut; after an error such
// as a full disk, what is seen under its name is what was there before.
absl::Status SaveCheckpoint(const std::string& run_dir,
                            const CheckpointState& state);

// Removes what writers that died have left of checkpoints that they wrote or
// removed. Of the run's one writer.
absl::Status RemoveLeftovers(const std::string& run_dir);

// Removes it: first its name, so that a writer that dies halfway leaves no
// damaged checkpoint, then its files.
absl::Status RemoveCheckpoint(const std::string& run_dir, int64_t step);

// A checkpoint whose files are all there, of the right size and checksum. A
// value; thread-safe.
class Checkpoint {
 public:
  // Verifies every byte, on all threads. Errors name the file, what was seen
  // and wanted.
  static absl::StatusOr<Checkpoint> Open(const std::string& directory);

  const std::string& directory() const { return directory_; }
  const CheckpointManifest& manifest() const { return manifest_; }
  const TrainConfig& config() const { return config_; }
  std::string tokenizer_path() const;

  // Compares every name, dtype and shape with what was saved. One error lists
  // all tensors that are missing, left over or of another shape.
  absl::Status Check(absl::Span<const NamedTensor> weights,
                     absl::Span<const NamedTensor> moments) const;

  // Fills the tensors with what was saved under their names, after Check: on an
  // error none has been written to. ReadWeights leaves the moments out of it,
  // for a model that is only used.
  absl::Status Read(absl::Span<const NamedTensor> weights,
                    absl::Span<const NamedTensor> moments) const;
  absl::Status ReadWeights(absl::Span<const NamedTensor> weights) const;

  // The elements of a tensor from number `first` on, as many as the flat `into`
  // has.
  absl::Status ReadWeight(const std::string& name, int64_t first,
                          Tensor* into) const;
  absl::Status ReadMoment(const std::string& name, int64_t first,
                          Tensor* into) const;

 private:
  Checkpoint(std::string directory, CheckpointManifest manifest,
             SafetensorsFile weights, SafetensorsFile moments)
      : directory_(std::move(directory)),
        manifest_(std::move(manifest)),
        weights_(std::move(weights)),
        moments_(std::move(moments)) {}

  std::string directory_;
  CheckpointManifest manifest_;
  TrainConfig config_;
  SafetensorsFile weights_;
  SafetensorsFile moments_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_CHECKPOINT_H_

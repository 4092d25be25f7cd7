#include "tools/commands/checkpoint.h"

#include <sys/stat.h>

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/base/directory.h"
#include "autograd/base/status.h"
#include "configs/batch_config.h"
#include "distributed/manifest.h"
#include "distributed/run_checkpoints.h"
#include "distributed/run_lock.h"
#include "distributed/safetensors.h"
#include "google/protobuf/text_format.h"
#include "layers/model_cost.h"
#include "tools/commands/example.h"
#include "tools/commands/quantity.h"
#include "tools/commands/table.h"

namespace nextword {
namespace {

struct Options {
  std::string path;
  bool tensors = false;
  Retention retention = {.every = 0, .keep = 0};
  bool dry_run = false;
};

int64_t BytesOf(const CheckpointManifest& manifest) {
  int64_t bytes = 0;
  for (const auto& file : manifest.file()) {
    bytes += static_cast<int64_t>(file.size());
  }
  return bytes;
}

std::string TimeOf(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return "";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S",
                          absl::FromTimeT(info.st_mtim.tv_sec),
                          absl::LocalTimeZone());
}

// Error: `path` is not the folder of a run.
absl::Status CheckRun(const std::string& path) {
  if (!IsDirectory(path)) {
    return absl::NotFoundError(
        absl::StrCat(path, ": is no folder, wanted that of a run"));
  }
  if (IsDirectory(CheckpointsDirectory(path))) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat(path, ": has no folder checkpoints, wanted that of a run"));
}

// Whether the files that the manifest names are there, of their sizes.
std::string GlanceAt(const std::string& directory,
                     const CheckpointManifest& manifest) {
  for (const auto& file : manifest.file()) {
    struct stat info;
    const std::string path = absl::StrCat(directory, "/", file.name());
    if (stat(path.c_str(), &info) != 0) return file.name() + " is missing";
    if (static_cast<uint64_t>(info.st_size) != file.size()) {
      return absl::StrCat(file.name(), " has ", info.st_size, " bytes, wanted ",
                          file.size());
    }
  }
  return "whole";
}

absl::Status List(const Options& options) {
  NW_RETURN_IF_ERROR(CheckRun(options.path));
  NW_ASSIGN_OR_RETURN(const std::vector<int64_t> steps,
                      CheckpointSteps(options.path));
  Table table({"step", "size", "held-out loss", "written", "files"});
  for (const int64_t step : steps) {
    const std::string directory = CheckpointDirectory(options.path, step);
    const auto manifest = LoadManifest(directory);
    if (!manifest.ok()) {
      table.Add({absl::StrCat(step), "", "", "", "damaged: the manifest"});
      continue;
    }
    table.Add({absl::StrCat(step),
               Scaled(static_cast<double>(BytesOf(*manifest)), "B"),
               manifest->has_held_out_loss()
                   ? absl::StrFormat("%.4f", manifest->held_out_loss())
                   : "",
               TimeOf(absl::StrCat(directory, "/", kManifestFile)),
               GlanceAt(directory, *manifest)});
  }
  std::printf("%s", table.Text().c_str());
  NW_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                      ListDirectory(CheckpointsDirectory(options.path)));
  for (const std::string& name : names) {
    if (absl::StartsWith(name, "damaged-")) {
      std::printf("%s: was found damaged and set aside\n", name.c_str());
    }
  }
  if (!steps.empty()) {
    std::printf(
        "Files by their sizes; `nextword checkpoint verify` reads "
        "every byte.\n");
  }
  return absl::OkStatus();
}

// The folder of a checkpoint, or those of a run.
absl::StatusOr<std::vector<std::string>> DirectoriesAt(
    const std::string& path) {
  if (!IsDirectory(path)) {
    return absl::NotFoundError(absl::StrCat(
        path, ": is no folder, wanted that of a checkpoint or of a run"));
  }
  if (!IsDirectory(CheckpointsDirectory(path))) {
    return std::vector<std::string>{path};
  }
  NW_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, CheckpointSteps(path));
  if (steps.empty()) {
    return absl::NotFoundError(
        absl::StrCat(CheckpointsDirectory(path), ": has no checkpoint"));
  }
  std::vector<std::string> directories;
  for (const int64_t step : steps) {
    directories.push_back(CheckpointDirectory(path, step));
  }
  return directories;
}

absl::Status Verify(const Options& options) {
  NW_ASSIGN_OR_RETURN(const std::vector<std::string> directories,
                      DirectoriesAt(options.path));
  std::vector<std::string> damaged;
  for (const std::string& directory : directories) {
    const absl::Time start = absl::Now();
    const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(directory);
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
    if (!checkpoint.ok()) {
      damaged.emplace_back(checkpoint.status().message());
      std::printf("%s: damaged\n", directory.c_str());
      continue;
    }
    const double bytes = static_cast<double>(BytesOf(checkpoint->manifest()));
    std::printf("%s: whole, %s in %s, %s\n", directory.c_str(),
                Scaled(bytes, "B").c_str(), Seconds(seconds).c_str(),
                Scaled(bytes / seconds, "B/s").c_str());
  }
  if (damaged.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrJoin(damaged, "\n"));
}

std::string Described(const SafetensorsFile::Entry& entry) {
  std::ostringstream text;
  text << entry.dtype_name << entry.shape;
  return text.str();
}

absl::Status PrintTensors(const Checkpoint& checkpoint) {
  for (const auto& file : checkpoint.manifest().file()) {
    if (!absl::EndsWith(file.name(), ".safetensors")) continue;
    NW_ASSIGN_OR_RETURN(const SafetensorsFile tensors,
                        SafetensorsFile::Open(absl::StrCat(
                            checkpoint.directory(), "/", file.name())));
    std::printf("\n%s\n", file.name().c_str());
    for (const auto& [name, entry] : tensors.entries()) {
      std::printf("  %-40s %s\n", name.c_str(), Described(entry).c_str());
    }
  }
  return absl::OkStatus();
}

void PrintFact(const char* name, const std::string& value) {
  std::printf("%-22s %s\n", name, value.c_str());
}

absl::Status Show(const Options& options) {
  NW_ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                      OpenCheckpoint(options.path));
  const CheckpointManifest& manifest = checkpoint.manifest();
  const TrainConfig& config = checkpoint.config();
  PrintFact("checkpoint", checkpoint.directory());
  PrintFact("step", absl::StrCat(WithCommas(manifest.step()), " of ",
                                 WithCommas(config.steps())));
  PrintFact("next sequence",
            WithCommas(static_cast<int64_t>(manifest.next_sequence())));
  PrintFact("tokens",
            WithCommas(static_cast<int64_t>(manifest.next_sequence()) *
                       SequenceLength(config.batch(), config.model())));
  PrintFact("seed", absl::StrCat(manifest.seed()));
  PrintFact("parameters",
            WithCommas(layers::CountParameters(manifest.model()).total()));
  if (manifest.has_held_out_loss()) {
    PrintFact("held-out loss",
              absl::StrFormat("%.6f nats per token", manifest.held_out_loss()));
  }
  PrintFact("corpus", manifest.corpus_fingerprint());
  if (manifest.has_held_out_fingerprint()) {
    PrintFact("held out", manifest.held_out_fingerprint());
  }
  PrintFact("tokenizer", manifest.tokenizer_fingerprint());
  const RunState& run = manifest.run();
  if (run.skipped_steps() > 0) {
    PrintFact("skipped steps", absl::StrCat(run.skipped_steps()));
  }
  if (run.rollbacks() > 0) {
    PrintFact("rollbacks", absl::StrCat(run.rollbacks()));
  }
  for (const auto& file : manifest.file()) {
    PrintFact(file.name().c_str(),
              absl::StrCat(WithCommas(static_cast<int64_t>(file.size())),
                           " bytes, xxh3 ", file.xxh3()));
  }
  for (const auto& version : manifest.version()) {
    PrintFact(version.name().c_str(), version.version());
  }
  std::string text;
  google::protobuf::TextFormat::PrintToString(config, &text);
  std::printf("\n%s", text.c_str());
  return options.tensors ? PrintTensors(checkpoint) : absl::OkStatus();
}

absl::Status Prune(const Options& options) {
  NW_RETURN_IF_ERROR(CheckRun(options.path));
  std::optional<RunLock> lock;
  if (!options.dry_run) {
    NW_ASSIGN_OR_RETURN(RunLock held, RunLock::Acquire(options.path));
    lock.emplace(std::move(held));
  }
  NW_ASSIGN_OR_RETURN(const std::vector<SavedStep> saved,
                      SavedSteps(options.path, INT64_MAX));
  const std::map<int64_t, std::string> kept =
      KeptSteps(saved, options.retention);
  for (const SavedStep& entry : saved) {
    const auto reason = kept.find(entry.step);
    const char* const verb = reason != kept.end() ? "keeps"
                             : options.dry_run    ? "would remove"
                                                  : "removes";
    std::printf("%s step %d%s%s\n", verb, static_cast<int>(entry.step),
                reason == kept.end() ? "" : ": ",
                reason == kept.end() ? "" : reason->second.c_str());
    if (reason == kept.end() && !options.dry_run) {
      NW_RETURN_IF_ERROR(RemoveCheckpoint(options.path, entry.step));
    }
  }
  return absl::OkStatus();
}

using Command = absl::Status (*)(const Options&);

// A command of `parent` that takes a path.
CLI::App* Add(CLI::App* parent, const char* name, const char* description,
              const char* path, const std::shared_ptr<Options>& options,
              Command command, absl::Status* status) {
  CLI::App* const app = parent->add_subcommand(name, description);
  ShowExample(*app,
              absl::StrCat("nextword checkpoint ", name, " runs/quickstart",
                           command == Prune ? " --keep 2" : ""));
  app->add_option("path", options->path, path)->type_name("PATH")->required();
  app->callback([=] { *status = command(*options); });
  return app;
}

}  // namespace

void AddCheckpointCommand(CLI::App& app, absl::Status* status) {
  CLI::App* const parent = app.add_subcommand(
      "checkpoint", "List, verify, show and prune a run's checkpoints.");
  ShowExample(*parent,
              "nextword checkpoint list runs/quickstart\n"
              "nextword checkpoint verify runs/quickstart\n"
              "nextword checkpoint show "
              "runs/quickstart/checkpoints/step-00000500\n"
              "nextword checkpoint prune runs/quickstart --keep 2 --dry-run");
  parent->require_subcommand(1);
  auto options = std::make_shared<Options>();
  constexpr char kRun[] = "A run's folder";
  constexpr char kEither[] = "A checkpoint's folder, or a run's";
  Add(parent, "list", "What checkpoints a run has.", kRun, options, List,
      status);
  Add(parent, "verify", "Read every byte; exit code 1 if any is damaged.",
      kEither, options, Verify, status);
  CLI::App* const show =
      Add(parent, "show", "What is in a checkpoint, of a run in its newest.",
          kEither, options, Show, status);
  show->add_flag("--tensors", options->tensors, "Names, dtypes and shapes");
  CLI::App* const prune = Add(parent, "prune", "Remove old checkpoints.", kRun,
                              options, Prune, status);
  prune->add_option("--keep", options->retention.keep, "The newest so many")
      ->check(CLI::Range(1, 1'000'000'000))
      ->required();
  prune
      ->add_option("--keep-every,--keep_every", options->retention.keep_every,
                   "And those of multiples of this step")
      ->check(CLI::Range(1, 1'000'000'000));
  prune
      ->add_option("--keep-best,--keep_best", options->retention.keep_best,
                   "And so many of the lowest held-out loss")
      ->check(CLI::Range(1, 1'000'000'000));
  prune->add_flag("--dry-run,--dry_run", options->dry_run,
                  "Only say what would be removed");
}

}  // namespace nextword

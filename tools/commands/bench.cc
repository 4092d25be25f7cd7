#include "tools/commands/bench.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/base/file.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "distributed/versions.h"
#include "tools/commands/bench_gemm.h"
#include "tools/commands/bench_loader.h"
#include "tools/commands/bench_ops.h"
#include "tools/commands/bench_step.h"
#include "tools/commands/bench_tokenizer.h"
#include "tools/commands/config_options.h"
#include "tools/commands/example.h"
#include "tools/commands/join_world.h"
#include "tools/commands/standard_streams.h"
#include "tools/commands/zipf_text.h"

namespace nextword {
namespace {

using Kinds = std::vector<std::string>;

// An option that only some kinds of benchmark take.
struct OptionOfKinds {
  const CLI::Option* option;
  Kinds kinds;
};

struct Options {
  std::string what;
  bool json = false;
  int threads = -1;  // -1: not given.
  double seconds = 0.2;
  std::string dtype = "all";
  int64_t tokens = 0;
  ConfigOptions config;
  StepBenchOptions step;
  std::string text;
  double megabytes = 0;
  int32_t vocab_size = 4096;

  std::vector<OptionOfKinds> of_kinds;
};

// An option that would be ignored is a mistake.
absl::Status CheckOptions(const Options& options) {
  for (const auto& [option, kinds] : options.of_kinds) {
    if (option->count() == 0 ||
        std::find(kinds.begin(), kinds.end(), options.what) != kinds.end()) {
      continue;
    }
    return absl::InvalidArgumentError(
        absl::StrCat(option->get_name(), " is for --what ",
                     absl::StrJoin(kinds, " and --what "), ", not for --what ",
                     options.what));
  }
  if (options.what == "step" && options.config.path.empty()) {
    return absl::InvalidArgumentError("--what step wants a --config");
  }
  return absl::OkStatus();
}

std::vector<DType> DTypesOf(const Options& options) {
  if (options.dtype == "f32") return {DType::kF32};
  if (options.dtype == "bf16") return {DType::kBF16};
  return {DType::kF32, DType::kBF16};
}

int64_t BytesOf(const Options& options, double default_megabytes) {
  return static_cast<int64_t>(
      1e6 * (options.megabytes > 0 ? options.megabytes : default_megabytes));
}

absl::StatusOr<BenchReport> RunStep(const Options& options) {
  NW_ASSIGN_OR_RETURN(TrainConfig config,
                      options.config.Load(ConfigUse::kCheck));
  if (options.threads >= 0) config.set_threads(options.threads);
  SetNumThreads(config.threads());
  NW_ASSIGN_OR_RETURN(const std::unique_ptr<World> world, JoinWorld(config));
  absl::StatusOr<BenchReport> report =
      BenchStep(config, options.step, world->groups());
  NW_RETURN_IF_ERROR(world->Leave(report.status()));
  return report;
}

absl::StatusOr<BenchReport> RunTokenizer(const Options& options) {
  if (options.text.empty()) {
    return BenchTokenizer(ZipfText(1, BytesOf(options, 4)), options.vocab_size,
                          options.seconds);
  }
  NW_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(options.text));
  if (file.bytes().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(options.text, ": is empty"));
  }
  return BenchTokenizer(file.bytes(), options.vocab_size, options.seconds);
}

absl::StatusOr<BenchReport> RunKind(const Options& options) {
  if (options.what == "step") return RunStep(options);
  SetNumThreads(std::max(options.threads, 0));
  if (options.what == "gemm") {
    return BenchGemm(DTypesOf(options),
                     options.tokens > 0 ? options.tokens : 1024,
                     options.seconds);
  }
  if (options.what == "ops") {
    return BenchOps(DTypesOf(options), options.tokens, options.seconds);
  }
  if (options.what == "tokenizer") return RunTokenizer(options);
  return BenchLoader(BytesOf(options, 64), options.seconds);
}

absl::Status Bench(const Options& options) {
  NW_RETURN_IF_ERROR(CheckOptions(options));
  NW_ASSIGN_OR_RETURN(const BenchReport report, RunKind(options));
  if (report.text.empty()) return absl::OkStatus();  // Another rank has it.
  if (!options.json) return WriteStandardOutput(report.text);
  nlohmann::ordered_json json = {{"what", options.what},
                                 {"threads", NumThreads()},
                                 {"versions", Versions()}};
  json.update(report.json);
  return WriteStandardOutput(json.dump(2) + "\n");
}

void AddStepOptions(CLI::App& command, Options* options) {
  const Kinds step = {"step"};
  options->config.AddTo(command);
  for (const char* name : {"--config", "--set"}) {
    options->of_kinds.push_back(
        {command.get_option(name)->required(false), step});
  }
  options->of_kinds.push_back(
      {command.add_option("--steps", options->step.steps, "Steps to time")
           ->check(CLI::Range(1, 1'000'000))
           ->capture_default_str(),
       step});
  options->of_kinds.push_back(
      {command
           .add_option("--warmup", options->step.warmup, "Steps before those")
           ->check(CLI::Range(0, 1'000'000))
           ->capture_default_str(),
       step});
}

void AddKernelOptions(CLI::App& command, Options* options) {
  options->of_kinds.push_back(
      {command.add_option("--dtype", options->dtype, "Of the numbers")
           ->check(CLI::IsMember({"f32", "bf16", "all"}))
           ->capture_default_str(),
       {"gemm", "ops"}});
  options->of_kinds.push_back(
      {command
           .add_option("--tokens", options->tokens,
                       "Rows; 1024 if not given, for the quick start 2048")
           ->check(CLI::Range(1, 1'000'000)),
       {"gemm", "ops"}});
  options->of_kinds.push_back({command
                                   .add_option("--seconds", options->seconds,
                                               "To measure each thing for")
                                   ->check(CLI::Range(0.0, 3600.0))
                                   ->capture_default_str(),
                               {"gemm", "ops", "tokenizer", "loader"}});
}

void AddDataOptions(CLI::App& command, Options* options) {
  CLI::Option* const text =
      command
          .add_option("--text", options->text,
                      "A text; words by Zipf's law if not given")
          ->type_name("FILE");
  options->of_kinds.push_back({text, {"tokenizer"}});
  options->of_kinds.push_back(
      {command
           .add_option("--vocab-size", options->vocab_size,
                       "Entries of the tokenizer")
           ->capture_default_str(),
       {"tokenizer"}});
  options->of_kinds.push_back(
      {command
           .add_option("--megabytes", options->megabytes,
                       "Size of the text or token file that is made; 4 and 64 "
                       "if not given")
           ->check(CLI::Range(0.01, 10000.0))
           ->excludes(text),
       {"tokenizer", "loader"}});
}

}  // namespace

void AddBenchCommand(CLI::App& app, absl::Status* status) {
  CLI::App* command = app.add_subcommand(
      "bench", "Measure how fast this machine computes, trains and reads.");
  ShowExample(*command,
              "nextword bench --what gemm\n"
              "nextword bench --what step --config configs/quickstart.textproto"
              "\nnextword bench --what tokenizer --text book.txt --json");
  auto options = std::make_shared<Options>();
  command
      ->add_option("--what", options->what,
                   "gemm: matrix products. ops: kernels one by one. step: "
                   "training steps of a config, on random ids. tokenizer: "
                   "training, encoding, decoding. loader: batches")
      ->check(CLI::IsMember({"gemm", "ops", "step", "tokenizer", "loader"}))
      ->required();
  command->add_flag("--json", options->json, "Print one JSON object");
  command
      ->add_option("--threads", options->threads,
                   "0: one per processor; if not given, 0 or what the config "
                   "says")
      ->check(CLI::Range(0, 1024));
  AddStepOptions(*command, options.get());
  AddKernelOptions(*command, options.get());
  AddDataOptions(*command, options.get());
  command->callback([options, status] { *status = Bench(*options); });
}

}  // namespace nextword

#include "tools/commands/check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "configs/batch_config.h"
#include "configs/model_config.h"
#include "data/token_stream.h"
#include "data/tokenizer.h"
#include "distributed/compute_dtype.h"
#include "distributed/device.h"
#include "distributed/matmul_peak.h"
#include "distributed/train_memory.h"
#include "layers/model_cost.h"
#include "tools/commands/config_options.h"
#include "tools/commands/example.h"
#include "tools/commands/quantity.h"

namespace nextword {
namespace {

// The share of the matmul peak that training is taken to reach. The progress
// line of `train` has the measured one.
constexpr double kAssumedPeakShare = 0.7;

std::string Duration(double seconds) {
  if (seconds < 120) return absl::StrFormat("%.0f seconds", seconds);
  if (seconds < 7200) return absl::StrFormat("%.0f minutes", seconds / 60);
  if (seconds < 172800) return absl::StrFormat("%.1f hours", seconds / 3600);
  return absl::StrFormat("%s days", WithCommas(std::llround(seconds / 86400)));
}

void Row(const std::string& name, const std::string& value) {
  std::printf("  %-26s %26s\n", name.c_str(), value.c_str());
}

void PrintParameters(const layers::ParameterCount& count) {
  std::printf("Parameters\n");
  Row("embedding", WithCommas(count.embedding));
  Row("attention weights", WithCommas(count.attention));
  Row("feed-forward weights", WithCommas(count.feed_forward));
  Row("head", count.head > 0 ? WithCommas(count.head) : "tied");
  Row("norms and biases", WithCommas(count.vectors));
  Row("total", WithCommas(count.total()));
}

void PrintMemory(const TrainConfig& config, const ModelConfig& model,
                 int ranks) {
  const layers::TrainMemory memory = EstimateRankMemory(config, model, ranks);
  const std::string of_each = absl::StrCat(" of each of ", ranks, " ranks");
  std::printf("Memory%s\n", ranks > 1 ? of_each.c_str() : "");
  Row("weights", Scaled(memory.weights, "B"));
  if (memory.rounded > 0) {
    Row("weights in eight bits", Scaled(memory.rounded, "B"));
  }
  Row("gradients", Scaled(memory.gradients, "B"));
  Row("moments", Scaled(memory.moments, "B"));
  Row("activations", Scaled(memory.activations, "B"));
  Row("program", Scaled(memory.program, "B"));
  if (memory.checkpoint > 0) {
    Row("copy for checkpoints", Scaled(memory.checkpoint, "B"));
  }
  Row("total", Scaled(memory.total(), "B"));
  const layers::TrainMemory whole =
      EstimateRankMemory(config, model, /*world_size=*/1);
  Row("checkpoint on disk",
      Scaled(4.0 * layers::CountParameters(model).total() + whole.moments,
             "B"));
}

// Without a device, since the config's is not here, nothing is measured.
void PrintCompute(const TrainConfig& config, const ModelConfig& model,
                  std::optional<Device> device) {
  const double per_token =
      layers::TrainFlopsPerToken(model, SequenceLength(config.batch(), model));
  const double tokens = static_cast<double>(config.steps()) *
                        TokensPerStep(config.batch(), model);
  std::printf("Compute\n");
  Row("FLOPs per token", Scaled(per_token, "FLOP"));
  Row("tokens per step", WithCommas(TokensPerStep(config.batch(), model)));
  Row("tokens of the run",
      WithCommas(config.steps() * TokensPerStep(config.batch(), model)));
  Row("FLOPs of the run", Scaled(per_token * tokens, "FLOP"));
  if (!device.has_value()) return Row("matmul peak", "no GPU here to measure");
  SetNumerics(config);
  const double peak = MeasureMatmulPeak(ComputeDTypeOf(config), *device, 0.3);
  const std::string where = device == Device::Cpu()
                                ? absl::StrFormat("%d threads", NumThreads())
                                : "GPU";
  Row(absl::StrCat("matmul peak, ", where), Scaled(peak, "FLOP/s"));
  Row(absl::StrFormat("time at %.0f%% of it", 100 * kAssumedPeakShare),
      Duration(per_token * tokens / (kAssumedPeakShare * peak)));
}

// The training tokens that the config names or that `train` has made already.
std::vector<std::string> TokenPaths(const TrainConfig& config) {
  const DataConfig& data = config.data();
  if (data.tokens_size() > 0) {
    return {data.tokens().begin(), data.tokens().end()};
  }
  return {absl::StrCat(data.cache_dir().empty()
                           ? absl::StrCat(config.run_dir(), "/data")
                           : data.cache_dir(),
                       "/train.tokens")};
}

absl::Status PrintData(const TrainConfig& config, const ModelConfig& model) {
  const absl::StatusOr<TokenStream> stream =
      TokenStream::Open(TokenPaths(config));
  std::printf("Data\n");
  if (!stream.ok()) {
    // Token files that the config names must be there; its own are made later.
    if (config.data().tokens_size() > 0) return stream.status();
    Row("tokens per epoch", "known once tokenized");
    return absl::OkStatus();
  }
  const double epochs = static_cast<double>(config.steps()) *
                        TokensPerStep(config.batch(), model) /
                        static_cast<double>(stream->num_tokens());
  Row("tokens per epoch", WithCommas(stream->num_tokens()));
  Row("epochs", absl::StrFormat("%.2f", epochs));
  return absl::OkStatus();
}

// Entries of the tokenizer that training would use; 0 when the config names
// none.
absl::StatusOr<int64_t> TokenizerSize(const TrainConfig& config) {
  const DataConfig& data = config.data();
  if (!data.tokenizer().empty()) {
    NW_ASSIGN_OR_RETURN(const Tokenizer tokenizer,
                        Tokenizer::Load(data.tokenizer()));
    return tokenizer.vocab_size();
  }
  return data.source_size() > 0 ? data.tokenizer_vocab_size() : 0;
}

struct Options {
  ConfigOptions config;
  int ranks = 1;
};

absl::Status Check(const Options& options) {
  NW_ASSIGN_OR_RETURN(const TrainConfig config,
                      options.config.Load(ConfigUse::kCheck));
  NW_RETURN_IF_ERROR(CheckRanks(config.batch(), options.ranks));
  NW_RETURN_IF_ERROR(CheckShardRanks(config.distributed(), options.ranks));
  NW_ASSIGN_OR_RETURN(const int64_t tokenizer_size, TokenizerSize(config));
  NW_ASSIGN_OR_RETURN(const ModelConfig model,
                      ResolveModel(config.model(), tokenizer_size));
  std::optional<Device> device;
  if (config.device() != CUDA || DeviceCount(DeviceType::kCuda) > 0) {
    NW_ASSIGN_OR_RETURN(device, DeviceOf(config.device()));
  }
  NW_RETURN_IF_ERROR(CheckKernelsFor(model, device.value_or(Device::Cuda())));
  PrintParameters(layers::CountParameters(model));
  PrintMemory(config, model, options.ranks);
  PrintCompute(config, model, device);
  const bool has_data =
      config.data().tokens_size() > 0 || config.data().source_size() > 0;
  return has_data ? PrintData(config, model) : absl::OkStatus();
}

}  // namespace

void AddCheckCommand(CLI::App& app, absl::Status* status) {
  CLI::App* command =
      app.add_subcommand("check", "Say what a config costs, without training.");
  ShowExample(*command,
              "nextword check --config configs/gpt2_124m.textproto\n"
              "nextword check --config my.textproto --ranks 8 --set "
              "distributed.sharding=PARAMETERS");
  auto options = std::make_shared<Options>();
  options->config.AddTo(*command);
  command
      ->add_option("--ranks", options->ranks,
                   "Processes that the job is divided among")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->callback([options, status] { *status = Check(*options); });
}

}  // namespace nextword

#include "tools/commands/generate.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"
#include "distributed/trained_model.h"
#include "layers/generator.h"
#include "tools/commands/checkpoint_options.h"
#include "tools/commands/example.h"
#include "tools/commands/standard_streams.h"

namespace nextword {
namespace {

struct Options {
  CheckpointOptions checkpoint;
  std::string prompt;
  int64_t tokens = 200;
  layers::SamplerOptions sampler = {.temperature = 0.8, .seed = 1};
};

// What CLI11's ranges let through: it takes "nan" for a number.
absl::Status CheckOptions(const Options& options) {
  const layers::SamplerOptions& sampler = options.sampler;
  if (!(sampler.temperature >= 0) || std::isinf(sampler.temperature)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--temperature is ", sampler.temperature, ", wanted a number from 0"));
  }
  if (!(sampler.top_p > 0 && sampler.top_p <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--top-p is ", sampler.top_p, ", wanted a number above 0 and up to 1"));
  }
  if (sampler.top_k < 0 || options.tokens < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--top-k is ", sampler.top_k, " and --tokens ",
                     options.tokens, ", wanted both from 0"));
  }
  return absl::OkStatus();
}

absl::Status Generate(const Options& options) {
  NW_RETURN_IF_ERROR(CheckOptions(options));
  NW_ASSIGN_OR_RETURN(const TrainedModel trained, options.checkpoint.Load());
  const Tokenizer& tokenizer = trained.tokenizer;
  // Without a prompt, the start of a document: where another ended.
  std::vector<int32_t> prompt = tokenizer.Encode(options.prompt);
  if (prompt.empty()) prompt.push_back(tokenizer.end_of_text_id());

  absl::Status status = WriteStandardOutput(options.prompt);
  layers::Generator generator(trained.model.get(), tokenizer.vocab_size(),
                              options.sampler);
  generator.Generate(prompt, options.tokens, [&](int32_t id) {
    if (id == tokenizer.end_of_text_id()) return false;
    if (status.ok()) status = WriteStandardOutput(tokenizer.TokenBytes(id));
    return status.ok();
  });
  if (!status.ok()) return status;
  return WriteStandardOutput("\n");
}

}  // namespace

void AddGenerateCommand(CLI::App& app, absl::Status* status) {
  CLI::App* command =
      app.add_subcommand("generate", "Continue a text, token by token.");
  ShowExample(*command,
              "nextword generate --checkpoint runs/quickstart --prompt \"It is "
              "a truth\" --tokens 100");
  auto options = std::make_shared<Options>();
  layers::SamplerOptions& sampler = options->sampler;
  options->checkpoint.AddTo(command);
  command->add_option("--prompt", options->prompt,
                      "Text to continue; without, a document from its start");
  command->add_option("--tokens", options->tokens, "Tokens at most")
      ->capture_default_str();
  command
      ->add_option("--temperature", sampler.temperature,
                   "Divides the scores; 0 takes the best token always")
      ->capture_default_str();
  command
      ->add_option("--top-k", sampler.top_k,
                   "Keep the k most probable tokens; 0 keeps all")
      ->capture_default_str();
  command
      ->add_option("--top-p", sampler.top_p,
                   "Keep the fewest tokens whose probabilities reach p")
      ->capture_default_str();
  command->add_option("--seed", sampler.seed, "Another seed, another text")
      ->capture_default_str();
  command->callback([options, status] { *status = Generate(*options); });
}

}  // namespace nextword

#include "tools/commands/generate.h"

#include <memory>
#include <string>
#include <vector>

#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "distributed/trained_model.h"
#include "layers/generator.h"
#include "tools/commands/example.h"
#include "tools/commands/standard_streams.h"

namespace nextword {
namespace {

struct Options {
  std::string checkpoint;
  std::string prompt;
  int64_t tokens = 200;
  int threads = 0;
  layers::SamplerOptions sampler = {.temperature = 0.8, .seed = 1};
};

absl::Status Generate(const Options& options) {
  SetNumThreads(options.threads);
  NW_ASSIGN_OR_RETURN(const TrainedModel trained,
                      TrainedModel::Load(options.checkpoint));
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
  command
      ->add_option("--checkpoint", options->checkpoint,
                   "A checkpoint's folder, or a run's for its newest")
      ->type_name("PATH")
      ->required();
  command->add_option("--prompt", options->prompt,
                      "Text to continue; without, a document from its start");
  command->add_option("--tokens", options->tokens, "Tokens at most")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--temperature", sampler.temperature,
                   "Divides the scores; 0 takes the best token always")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--top-k", sampler.top_k,
                   "Keep the k most probable tokens; 0 keeps all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--top-p", sampler.top_p,
                   "Keep the fewest tokens whose probabilities reach p")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--seed", sampler.seed, "Another seed, another text")
      ->capture_default_str();
  command->add_option("--threads", options->threads, "0: one per processor")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->callback([options, status] { *status = Generate(*options); });
}

}  // namespace nextword

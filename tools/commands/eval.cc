#include "tools/commands/eval.h"

#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "configs/batch_config.h"
#include "data/token_file.h"
#include "distributed/corpus_data.h"
#include "distributed/evaluator.h"
#include "distributed/trained_model.h"
#include "tools/commands/checkpoint_options.h"
#include "tools/commands/example.h"
#include "tools/commands/temporary_directory.h"

namespace nextword {
namespace {

struct Options {
  CheckpointOptions checkpoint;
  std::vector<std::string> texts;
  int64_t batch = 8;
};

// The texts as a token file, one document each.
absl::Status TokenizeTexts(const Tokenizer& tokenizer,
                           const std::vector<std::string>& texts,
                           const std::string& path) {
  const auto add_all = [&](TokenFileWriter& writer) -> absl::Status {
    for (const std::string& text : texts) {
      NW_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(text));
      if (file.bytes().empty()) {
        return absl::InvalidArgumentError(absl::StrCat(text, ": is empty"));
      }
      NW_RETURN_IF_ERROR(writer.AddDocument(tokenizer, file.bytes()));
    }
    return absl::OkStatus();
  };
  return WriteTokenFile(path, tokenizer.vocabulary(), add_all).status();
}

absl::Status Report(const TrainedModel& trained,
                    const EvaluationSequences& sequences, int64_t batch) {
  NW_ASSIGN_OR_RETURN(const Evaluation evaluation,
                      Evaluate(*trained.model, sequences, batch,
                               /*max_sequences=*/0, Alone()));
  if (!std::isfinite(evaluation.nats)) {
    return absl::DataLossError(absl::StrCat(
        trained.checkpoint, ": the loss is not finite: broken weights"));
  }
  std::printf("checkpoint      %s\n", trained.checkpoint.c_str());
  std::printf("tokens          %lld\n",
              static_cast<long long>(evaluation.tokens));
  std::printf("bytes           %.0f\n", evaluation.bytes);
  std::printf("loss            %.4f nats per token\n", evaluation.loss());
  std::printf("perplexity      %.3f\n", evaluation.perplexity());
  std::printf("bits per byte   %.4f\n", evaluation.bits_per_byte());
  return absl::OkStatus();
}

absl::Status Eval(const Options& options) {
  NW_ASSIGN_OR_RETURN(const TrainedModel trained, options.checkpoint.Load());
  if (options.texts.empty()) {
    NW_ASSIGN_OR_RETURN(
        const std::optional<EvaluationSequences> held_out,
        CorpusData::OpenHeldOut(trained.config, trained.tokenizer));
    if (!held_out.has_value()) {
      return absl::FailedPreconditionError(absl::StrCat(
          trained.checkpoint, ": its run held no text out; give --text FILE"));
    }
    return Report(trained, *held_out, options.batch);
  }
  NW_ASSIGN_OR_RETURN(const TemporaryDirectory directory,
                      TemporaryDirectory::Create());
  const std::string path = absl::StrCat(directory.path(), "/text.tokens");
  NW_RETURN_IF_ERROR(TokenizeTexts(trained.tokenizer, options.texts, path));
  NW_ASSIGN_OR_RETURN(
      TokenStream stream,
      TokenStream::Open({path}, trained.tokenizer.vocabulary()));
  NW_ASSIGN_OR_RETURN(
      const EvaluationSequences sequences,
      EvaluationSequences::Create(
          std::move(stream),
          {.sequence_length =
               SequenceLength(trained.config.batch(), trained.config.model()),
           .document_mask = trained.config.data().document_mask()}));
  return Report(trained, sequences, options.batch);
}

}  // namespace

void AddEvalCommand(CLI::App& app, absl::Status* status) {
  CLI::App* command = app.add_subcommand(
      "eval", "Measure a model on text: loss, perplexity, bits per byte.");
  ShowExample(*command,
              "nextword eval --checkpoint runs/quickstart\n"
              "nextword eval --checkpoint runs/quickstart --text book.txt");
  auto options = std::make_shared<Options>();
  options->checkpoint.AddTo(command);
  command
      ->add_option("--text", options->texts,
                   "Text files; without, what the run held out")
      ->type_name("FILE");
  command->add_option("--batch", options->batch, "Sequences at a time")
      ->check(CLI::Range(1, 1'000'000'000))
      ->capture_default_str();
  command->callback([options, status] { *status = Eval(*options); });
}

}  // namespace nextword

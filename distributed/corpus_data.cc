#include "distributed/corpus_data.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "autograd/base/hash.h"
#include "autograd/base/log.h"
#include "autograd/base/status.h"
#include "configs/batch_config.h"
#include "data/corpus.h"
#include "data/token_file.h"
#include "data/token_stream.h"
#include "distributed/rendezvous/activity.h"

namespace nextword {
namespace {

// The files that a run reads, made from raw text where there are none yet.
struct TokenFiles {
  std::string tokenizer_path;
  std::vector<std::string> tokens, held_out;
};

// Where tokenizer and token files are made from raw text.
std::string CacheDirectory(const TrainConfig& config) {
  return config.data().cache_dir().empty()
             ? absl::StrCat(config.run_dir(), "/data")
             : config.data().cache_dir();
}

absl::StatusOr<TokenFiles> LocateTokenFiles(const TrainConfig& config,
                                            bool remake) {
  const DataConfig& data = config.data();
  if (data.tokens_size() > 0) {
    return TokenFiles{
        data.tokenizer(),
        {data.tokens().begin(), data.tokens().end()},
        {data.held_out_tokens().begin(), data.held_out_tokens().end()}};
  }
  CorpusOptions options;
  options.sources = {data.source().begin(), data.source().end()};
  options.held_out_sources = {data.held_out_source().begin(),
                              data.held_out_source().end()};
  options.held_out_fraction = data.held_out_fraction();
  options.tokenizer = data.tokenizer();
  options.tokenizer_vocab_size = data.tokenizer_vocab_size();
  options.cache_dir = CacheDirectory(config);
  options.remake = remake;
  NW_ASSIGN_OR_RETURN(const PreparedCorpus corpus, PrepareCorpus(options));
  TokenFiles files{corpus.tokenizer_path, {corpus.train_tokens}, {}};
  if (!corpus.held_out_tokens.empty()) {
    files.held_out.push_back(corpus.held_out_tokens);
  }
  return files;
}

// Every byte of the files is read once: a damaged file, or an id that the model
// has no row for, must not come to light in the middle of a run. Measured with
// the files in the system's cache: 1.0e9 tokens (2 bytes each) a second.
absl::StatusOr<TokenStream> OpenVerified(const std::vector<std::string>& paths,
                                         const Vocabulary& vocabulary) {
  NW_ASSIGN_OR_RETURN(TokenStream stream, TokenStream::Open(paths, vocabulary));
  for (const TokenFile& file : stream.files()) {
    NW_RETURN_IF_ERROR(file.VerifyContents());
  }
  return stream;
}

absl::StatusOr<std::optional<EvaluationSequences>> OpenSequences(
    const TrainConfig& config, const std::vector<std::string>& paths,
    const Vocabulary& vocabulary) {
  if (paths.empty()) return std::optional<EvaluationSequences>();
  NW_ASSIGN_OR_RETURN(TokenStream stream, OpenVerified(paths, vocabulary));
  NW_ASSIGN_OR_RETURN(
      EvaluationSequences sequences,
      EvaluationSequences::Create(
          std::move(stream),
          {.sequence_length = SequenceLength(config.batch(), config.model()),
           .document_mask = config.data().document_mask()}));
  return std::optional<EvaluationSequences>(std::move(sequences));
}

uint64_t FingerprintOf(const TokenStream& stream) {
  std::string checksums;
  for (const TokenFile& file : stream.files()) {
    absl::StrAppend(&checksums, HexDigits(file.info().checksum), " ");
  }
  return Hash64(checksums);
}

}  // namespace

absl::StatusOr<std::optional<EvaluationSequences>> CorpusData::OpenHeldOut(
    const TrainConfig& config, const Tokenizer& tokenizer) {
  const DataConfig& data = config.data();
  std::vector<std::string> paths(data.held_out_tokens().begin(),
                                 data.held_out_tokens().end());
  const bool holds_out_text =
      data.source_size() > 0 &&
      (data.held_out_source_size() > 0 || data.held_out_fraction() > 0);
  if (holds_out_text) {
    paths.push_back(absl::StrCat(CacheDirectory(config), "/held_out.tokens"));
  }
  return OpenSequences(config, paths, tokenizer.vocabulary());
}

absl::StatusOr<CorpusData> CorpusData::Open(const TrainConfig& config) {
  const ActivityScope activity("data open", CacheDirectory(config));
  absl::StatusOr<CorpusData> data = OpenFiles(config, /*remake=*/false);
  const bool can_remake = config.data().source_size() > 0;
  if (!absl::IsDataLoss(data.status()) || !can_remake) return data;
  Log::warn("{}; made again from the text",
            std::string(data.status().message()));
  return OpenFiles(config, /*remake=*/true);
}

absl::StatusOr<CorpusData> CorpusData::OpenFiles(const TrainConfig& config,
                                                 bool remake) {
  NW_ASSIGN_OR_RETURN(const TokenFiles files, LocateTokenFiles(config, remake));
  NW_ASSIGN_OR_RETURN(Tokenizer tokenizer,
                      Tokenizer::Load(files.tokenizer_path));
  const int64_t length = SequenceLength(config.batch(), config.model());
  const bool document_mask = config.data().document_mask();

  NW_ASSIGN_OR_RETURN(TokenStream stream,
                      OpenVerified(files.tokens, tokenizer.vocabulary()));
  NW_ASSIGN_OR_RETURN(
      Loader loader,
      Loader::Create(std::move(stream), {.sequence_length = length,
                                         .seed = config.seed(),
                                         .document_mask = document_mask}));
  NW_ASSIGN_OR_RETURN(
      std::optional<EvaluationSequences> held_out,
      OpenSequences(config, files.held_out, tokenizer.vocabulary()));
  NW_ASSIGN_OR_RETURN(std::string tokenizer_file,
                      ReadFile(files.tokenizer_path));
  return CorpusData{std::move(tokenizer), files.tokenizer_path,
                    std::move(tokenizer_file), std::move(loader),
                    std::move(held_out)};
}

uint64_t CorpusData::training_fingerprint() const {
  return FingerprintOf(loader.stream());
}

std::optional<uint64_t> CorpusData::held_out_fingerprint() const {
  if (!held_out.has_value()) return std::nullopt;
  return FingerprintOf(held_out->stream());
}

uint64_t CorpusData::fingerprint() const {
  return Hash64(absl::StrCat(HexDigits(training_fingerprint()), " ",
                             HexDigits(held_out_fingerprint().value_or(0))));
}

}  // namespace nextword

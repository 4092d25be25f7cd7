#include "tools/commands/tokenize.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "autograd/base/file.h"
#include "autograd/base/log.h"
#include "autograd/base/status.h"
#include "data/bpe_trainer.h"
#include "data/token_file.h"
#include "data/tokenizer.h"
#include "tools/commands/example.h"
#include "tools/commands/standard_streams.h"

namespace nextword {
namespace {

constexpr char kStandardInput[] = "-";

struct TrainOptions {
  int32_t vocab_size = 4096;
  std::vector<std::string> special_tokens;
  std::string output;
  std::vector<std::string> files;
};

absl::Status Train(const TrainOptions& options) {
  std::vector<MappedFile> files;
  std::vector<absl::string_view> texts;
  for (const std::string& path : options.files) {
    NW_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
    if (file.bytes().empty()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": is empty"));
    }
    texts.push_back(file.bytes());
    files.push_back(std::move(file));
  }
  BpeTrainerOptions trainer{.vocab_size = options.vocab_size};
  trainer.special_tokens.insert(trainer.special_tokens.end(),
                                options.special_tokens.begin(),
                                options.special_tokens.end());
  NW_ASSIGN_OR_RETURN(const Tokenizer tokenizer, TrainBpe(texts, trainer));
  NW_RETURN_IF_ERROR(tokenizer.Save(options.output));
  Log::info("{}: a tokenizer of {} entries", options.output,
            tokenizer.vocab_size());
  return absl::OkStatus();
}

struct EncodeOptions {
  std::string tokenizer;
  bool parse_special_tokens = false;
  std::string output;
  std::vector<std::string> files = {kStandardInput};
};

absl::Status EncodeToTokenFile(const EncodeOptions& options,
                               const Tokenizer& tokenizer) {
  NW_ASSIGN_OR_RETURN(
      const TokenFileInfo info,
      WriteTokenFile(options.output, tokenizer.vocabulary(),
                     [&](TokenFileWriter& writer) -> absl::Status {
                       for (const std::string& path : options.files) {
                         NW_ASSIGN_OR_RETURN(const std::string text,
                                             ReadFileOrStandardInput(path));
                         NW_RETURN_IF_ERROR(
                             writer.AddDocument(tokenizer, text));
                       }
                       return absl::OkStatus();
                     }));
  Log::info("{}: {} tokens of {} bytes in {} documents", options.output,
            info.num_tokens, info.text_bytes, info.num_documents);
  return absl::OkStatus();
}

absl::Status Encode(const EncodeOptions& options) {
  NW_ASSIGN_OR_RETURN(const Tokenizer tokenizer,
                      Tokenizer::Load(options.tokenizer));
  if (!options.output.empty()) return EncodeToTokenFile(options, tokenizer);
  for (const std::string& path : options.files) {
    NW_ASSIGN_OR_RETURN(const std::string text, ReadFileOrStandardInput(path));
    const std::vector<int32_t> ids = tokenizer.Encode(
        text, options.parse_special_tokens ? SpecialTokens::kParse
                                           : SpecialTokens::kAsText);
    NW_RETURN_IF_ERROR(
        WriteStandardOutput(absl::StrCat(absl::StrJoin(ids, " "), "\n")));
  }
  return absl::OkStatus();
}

struct DecodeOptions {
  std::string tokenizer;
  std::string file = kStandardInput;
};

absl::StatusOr<std::vector<int32_t>> ParseIds(absl::string_view text) {
  std::vector<int32_t> ids;
  for (const absl::string_view word :
       absl::StrSplit(text, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty())) {
    int32_t id;
    if (!absl::SimpleAtoi(word, &id)) {
      return absl::InvalidArgumentError(absl::StrCat("\"", word.substr(0, 40),
                                                     "\" after ", ids.size(),
                                                     " ids is no token id"));
    }
    ids.push_back(id);
  }
  return ids;
}

absl::Status DecodeText(absl::string_view text, const Tokenizer& tokenizer) {
  NW_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, ParseIds(text));
  NW_ASSIGN_OR_RETURN(const std::string decoded, tokenizer.Decode(ids));
  return WriteStandardOutput(decoded);
}

absl::Status DecodeTokenFile(const std::string& path,
                             const Tokenizer& tokenizer) {
  NW_ASSIGN_OR_RETURN(const TokenFile file,
                      TokenFile::Open(path, tokenizer.vocabulary()));
  NW_RETURN_IF_ERROR(file.VerifyContents());
  constexpr uint64_t kBlock = uint64_t{1} << 20;
  std::vector<int32_t> ids;
  for (uint64_t begin = 0; begin < file.num_tokens(); begin += kBlock) {
    ids.resize(std::min(kBlock, file.num_tokens() - begin));
    file.Read(begin, absl::MakeSpan(ids));
    NW_ASSIGN_OR_RETURN(const std::string text, tokenizer.Decode(ids));
    NW_RETURN_IF_ERROR(WriteStandardOutput(text));
  }
  return absl::OkStatus();
}

absl::Status Decode(const DecodeOptions& options) {
  NW_ASSIGN_OR_RETURN(const Tokenizer tokenizer,
                      Tokenizer::Load(options.tokenizer));
  if (options.file == kStandardInput) {
    NW_ASSIGN_OR_RETURN(const std::string text, ReadStandardInput());
    return DecodeText(text, tokenizer);
  }
  NW_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(options.file));
  return LooksLikeTokenFile(file.bytes())
             ? DecodeTokenFile(options.file, tokenizer)
             : DecodeText(file.bytes(), tokenizer);
}

// Adds the subcommand `name`, which runs `run` on the options returned.
template <typename Options>
Options& AddSubcommand(CLI::App& parent, const std::string& name,
                       const std::string& description,
                       const std::string& example, absl::Status* status,
                       absl::Status (*run)(const Options&),
                       CLI::App** command) {
  const auto options = std::make_shared<Options>();
  *command = parent.add_subcommand(name, description);
  ShowExample(**command, example);
  (*command)->callback([options, status, run] { *status = run(*options); });
  return *options;
}

void AddTrain(CLI::App& parent, absl::Status* status) {
  CLI::App* command;
  TrainOptions& options = AddSubcommand(
      parent, "train", "Learn a byte-level BPE tokenizer from text.",
      "nextword tokenize train --vocab-size 4096 --output tok.json *.txt",
      status, &Train, &command);
  command
      ->add_option("--vocab-size", options.vocab_size,
                   "Entries, special tokens included; 257 is bytes only")
      ->capture_default_str();
  command
      ->add_option("--special-token", options.special_tokens,
                   "A special token besides <|endoftext|>; repeatable")
      ->expected(1)
      ->take_all();
  command->add_option("-o,--output", options.output, "The tokenizer's file")
      ->required();
  command->add_option("FILE", options.files, "Text files")->required();
}

void AddEncode(CLI::App& parent, absl::Status* status) {
  CLI::App* command;
  EncodeOptions& options = AddSubcommand(
      parent, "encode", "Turn text into token ids.",
      "nextword tokenize encode --tokenizer tok.json book.txt\n"
      "nextword tokenize encode --tokenizer tok.json *.txt -o train.tokens",
      status, &Encode, &command);
  command->add_option("--tokenizer", options.tokenizer, "The tokenizer's file")
      ->required();
  CLI::Option* special = command->add_flag(
      "--parse-special-tokens", options.parse_special_tokens,
      "Names of special tokens in the text stand for the tokens");
  command
      ->add_option("-o,--output", options.output,
                   "Write a token file, one document per FILE; otherwise ids "
                   "go to standard output, one line per FILE")
      ->excludes(special);
  command->add_option("FILE", options.files,
                      "Text files; standard input if none or -");
}

void AddDecode(CLI::App& parent, absl::Status* status) {
  CLI::App* command;
  DecodeOptions& options = AddSubcommand(
      parent, "decode", "Turn token ids into text, on standard output.",
      "echo 72 105 | nextword tokenize decode --tokenizer tok.json\n"
      "nextword tokenize decode --tokenizer tok.json train.tokens",
      status, &Decode, &command);
  command->add_option("--tokenizer", options.tokenizer, "The tokenizer's file")
      ->required();
  command->add_option("FILE", options.file,
                      "A token file, or ids as text; standard input if none");
}

}  // namespace

void AddTokenizeCommand(CLI::App& app, absl::Status* status) {
  CLI::App* tokenize = app.add_subcommand(
      "tokenize", "Train a tokenizer, turn text into tokens and back.");
  ShowExample(*tokenize,
              "nextword tokenize train --vocab-size 4096 --output tok.json "
              "book.txt\n"
              "nextword tokenize encode --tokenizer tok.json book.txt");
  tokenize->require_subcommand(1);
  AddTrain(*tokenize, status);
  AddEncode(*tokenize, status);
  AddDecode(*tokenize, status);
}

}  // namespace nextword

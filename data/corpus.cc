#include "data/corpus.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "autograd/base/file.h"
#include "autograd/base/log.h"
#include "autograd/base/status.h"
#include "data/bpe_trainer.h"
#include "data/corpus_record.h"
#include "data/file_pattern.h"
#include "data/file_stamp.h"
#include "data/split.h"
#include "data/token_file.h"

namespace nextword {
namespace {

// Keeps other processes out of a folder while it lives.
class DirectoryLock {
 public:
  static absl::StatusOr<DirectoryLock> Acquire(const std::string& directory) {
    const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return FileError(directory, "open");
    DirectoryLock lock(fd);
    while (flock(fd, LOCK_EX) != 0) {
      if (errno != EINTR) return FileError(directory, "lock");
    }
    return lock;
  }
  DirectoryLock(DirectoryLock&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)) {}
  ~DirectoryLock() {
    if (fd_ >= 0) close(fd_);
  }

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}

  int fd_;
};

// Paths of the files made.
struct Outputs {
  std::string tokenizer, train_tokens, held_out_tokens, record;
};

Outputs OutputsIn(const std::string& cache_dir) {
  return {.tokenizer = absl::StrCat(cache_dir, "/tokenizer.json"),
          .train_tokens = absl::StrCat(cache_dir, "/train.tokens"),
          .held_out_tokens = absl::StrCat(cache_dir, "/held_out.tokens"),
          .record = absl::StrCat(cache_dir, "/corpus.json")};
}

absl::Status CheckOptions(const CorpusOptions& options) {
  if (options.sources.empty()) {
    return absl::InvalidArgumentError("source: no text files are given");
  }
  if (options.cache_dir.empty()) {
    return absl::InvalidArgumentError("cache_dir: is not given");
  }
  if (!(options.held_out_fraction >= 0 && options.held_out_fraction < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("held_out_fraction: is ", options.held_out_fraction,
                     ", wanted at least 0 and less than 1"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<FileStamp>> StampFiles(
    const std::vector<std::string>& patterns) {
  NW_ASSIGN_OR_RETURN(const std::vector<std::string> paths,
                      ExpandPatterns(patterns));
  std::vector<FileStamp> stamps;
  for (const std::string& path : paths) {
    NW_ASSIGN_OR_RETURN(FileStamp stamp, StampFile(path));
    stamps.push_back(std::move(stamp));
  }
  return stamps;
}

// Without hashes.
absl::StatusOr<CorpusInputs> FindInputs(const CorpusOptions& options) {
  CorpusInputs inputs;
  NW_ASSIGN_OR_RETURN(inputs.sources, StampFiles(options.sources));
  NW_ASSIGN_OR_RETURN(inputs.held_out_sources,
                      StampFiles(options.held_out_sources));
  std::erase_if(inputs.sources, [&](const FileStamp& source) {
    return absl::c_linear_search(inputs.held_out_sources, source);
  });
  if (inputs.sources.empty()) {
    return absl::InvalidArgumentError(
        "held_out_source: takes all files of source, none is left to train on");
  }
  if (inputs.held_out_sources.empty()) {
    inputs.held_out_fraction = options.held_out_fraction;
  }
  if (options.tokenizer.empty()) {
    inputs.tokenizer_vocab_size = options.tokenizer_vocab_size;
  } else {
    NW_ASSIGN_OR_RETURN(inputs.tokenizer, StampFile(options.tokenizer));
  }
  return inputs;
}

CorpusInputs WithoutHashes(CorpusInputs inputs) {
  for (FileStamp* stamp : StampsOf(&inputs)) stamp->hash = 0;
  return inputs;
}

CorpusInputs WithoutTimes(CorpusInputs inputs) {
  for (FileStamp* stamp : StampsOf(&inputs)) stamp->modified_ns = 0;
  return inputs;
}

// Whether `record` was made from `inputs`. A record whose files only look newer
// gets their new times.
absl::StatusOr<bool> IsCurrent(const CorpusInputs& inputs,
                               const std::string& path, CorpusRecord* record) {
  if (WithoutHashes(record->inputs) == inputs) return true;
  // Reading all files is worth it only if sizes and the rest agree.
  if (WithoutTimes(WithoutHashes(record->inputs)) != WithoutTimes(inputs)) {
    return false;
  }
  NW_ASSIGN_OR_RETURN(CorpusInputs hashed, Hashed(inputs));
  if (WithoutTimes(record->inputs) != WithoutTimes(hashed)) return false;
  record->inputs = std::move(hashed);
  NW_RETURN_IF_ERROR(record->Save(path));
  return true;
}

absl::Status CheckTokenFile(const std::string& path, const Tokenizer& tokenizer,
                            uint64_t checksum) {
  NW_ASSIGN_OR_RETURN(const TokenFile file,
                      TokenFile::Open(path, tokenizer.vocabulary()));
  if (file.info().checksum == checksum) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path, ": is not the file that was made from the corpus"));
}

// The corpus that `record` describes, if its files are those it was made with.
absl::StatusOr<PreparedCorpus> OpenPrepared(const CorpusRecord& record,
                                            const std::string& tokenizer_path,
                                            const Outputs& outputs) {
  NW_ASSIGN_OR_RETURN(const Tokenizer tokenizer,
                      Tokenizer::Load(tokenizer_path));
  if (tokenizer.fingerprint() != record.tokenizer_fingerprint) {
    return absl::DataLossError(absl::StrCat(
        tokenizer_path, ": is not the tokenizer of the prepared corpus"));
  }
  NW_RETURN_IF_ERROR(
      CheckTokenFile(outputs.train_tokens, tokenizer, record.train_checksum));
  PreparedCorpus corpus{.tokenizer = tokenizer,
                        .tokenizer_path = tokenizer_path,
                        .train_tokens = outputs.train_tokens,
                        .held_out_tokens = "",
                        .reused = true};
  if (record.held_out_checksum.has_value()) {
    corpus.held_out_tokens = outputs.held_out_tokens;
    NW_RETURN_IF_ERROR(CheckTokenFile(corpus.held_out_tokens, tokenizer,
                                      *record.held_out_checksum));
  }
  return corpus;
}

// The corpus prepared earlier, or nothing when it must be made.
absl::StatusOr<std::optional<PreparedCorpus>> FindPrepared(
    const CorpusInputs& inputs, const std::string& tokenizer_path,
    const Outputs& outputs) {
  absl::StatusOr<CorpusRecord> record = CorpusRecord::Load(outputs.record);
  if (absl::IsNotFound(record.status())) return std::nullopt;
  if (!record.ok()) {
    Log::warn("corpus: {}; preparing anew", record.status().ToString());
    return std::nullopt;
  }
  NW_ASSIGN_OR_RETURN(const bool is_current,
                      IsCurrent(inputs, outputs.record, &*record));
  if (!is_current) {
    Log::info("corpus: files or options changed, preparing anew");
    return std::nullopt;
  }
  absl::StatusOr<PreparedCorpus> corpus =
      OpenPrepared(*record, tokenizer_path, outputs);
  if (!corpus.ok()) {
    Log::warn("corpus: {}; preparing anew", corpus.status().ToString());
    return std::nullopt;
  }
  return *std::move(corpus);
}

// Texts in memory maps.
class Documents {
 public:
  static absl::StatusOr<Documents> Open(const std::vector<FileStamp>& stamps) {
    Documents documents;
    for (const FileStamp& stamp : stamps) {
      NW_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(stamp.path));
      documents.texts_.push_back(file.bytes());
      documents.files_.push_back(std::move(file));
    }
    return documents;
  }
  const std::vector<absl::string_view>& texts() const { return texts_; }

 private:
  std::vector<MappedFile> files_;
  std::vector<absl::string_view> texts_;
};

absl::StatusOr<Tokenizer> MakeTokenizer(
    absl::Span<const absl::string_view> texts, int32_t vocab_size,
    const std::string& path) {
  Log::info("corpus: training a tokenizer of {} entries", vocab_size);
  const absl::StatusOr<Tokenizer> tokenizer =
      TrainBpe(texts, {.vocab_size = vocab_size});
  if (absl::IsCancelled(tokenizer.status())) return tokenizer.status();
  if (!tokenizer.ok()) {
    return absl::Status(
        tokenizer.status().code(),
        absl::StrCat("tokenizer_vocab_size: ", tokenizer.status().message()));
  }
  NW_RETURN_IF_ERROR(tokenizer->Save(path));
  return tokenizer;
}

// Returns the checksum of the ids.
absl::StatusOr<uint64_t> WriteTokens(absl::Span<const absl::string_view> texts,
                                     const Tokenizer& tokenizer,
                                     const std::string& path) {
  NW_ASSIGN_OR_RETURN(
      const TokenFileInfo info,
      WriteTokenFile(path, tokenizer.vocabulary(),
                     [&](TokenFileWriter& writer) -> absl::Status {
                       for (const absl::string_view text : texts) {
                         NW_RETURN_IF_ERROR(
                             writer.AddDocument(tokenizer, text));
                       }
                       return absl::OkStatus();
                     }));
  Log::info("corpus: {}: {} tokens of {} bytes in {} documents", path,
            info.num_tokens, info.text_bytes, info.num_documents);
  return info.checksum;
}

absl::Status RemoveIfThere(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return FileError(path, "remove");
}

// Error if a file is not as it was when `inputs` was found.
absl::Status CheckUnchanged(CorpusInputs inputs) {
  for (const FileStamp* stamp : StampsOf(&inputs)) {
    NW_ASSIGN_OR_RETURN(const FileStamp now, StampFile(stamp->path));
    if (now != *stamp) {
      return absl::AbortedError(
          absl::StrCat(stamp->path, ": changed while it was read"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<PreparedCorpus> Prepare(const CorpusInputs& inputs,
                                       const std::string& tokenizer_path,
                                       const Outputs& outputs) {
  // While the record is missing, nobody takes the files for complete.
  NW_RETURN_IF_ERROR(RemoveIfThere(outputs.record));
  NW_ASSIGN_OR_RETURN(const Documents sources, Documents::Open(inputs.sources));
  NW_ASSIGN_OR_RETURN(const Documents held_out,
                      Documents::Open(inputs.held_out_sources));
  NW_ASSIGN_OR_RETURN(
      Split split, SplitDocuments(sources.texts(), inputs.held_out_fraction));
  if (!held_out.texts().empty()) split.held_out = held_out.texts();

  NW_ASSIGN_OR_RETURN(
      const Tokenizer tokenizer,
      inputs.tokenizer.has_value()
          ? Tokenizer::Load(tokenizer_path)
          : MakeTokenizer(split.training, inputs.tokenizer_vocab_size,
                          tokenizer_path));
  CorpusRecord record;
  record.tokenizer_fingerprint = tokenizer.fingerprint();
  NW_ASSIGN_OR_RETURN(
      record.train_checksum,
      WriteTokens(split.training, tokenizer, outputs.train_tokens));
  NW_RETURN_IF_ERROR(RemoveIfThere(outputs.held_out_tokens));
  if (!split.held_out.empty()) {
    NW_ASSIGN_OR_RETURN(
        record.held_out_checksum,
        WriteTokens(split.held_out, tokenizer, outputs.held_out_tokens));
  }
  NW_ASSIGN_OR_RETURN(record.inputs, Hashed(inputs));
  NW_RETURN_IF_ERROR(CheckUnchanged(inputs));
  NW_RETURN_IF_ERROR(record.Save(outputs.record));
  NW_ASSIGN_OR_RETURN(PreparedCorpus corpus,
                      OpenPrepared(record, tokenizer_path, outputs));
  corpus.reused = false;
  return corpus;
}

}  // namespace

absl::StatusOr<PreparedCorpus> PrepareCorpus(const CorpusOptions& options) {
  NW_RETURN_IF_ERROR(CheckOptions(options));
  NW_ASSIGN_OR_RETURN(const CorpusInputs inputs, FindInputs(options));
  NW_RETURN_IF_ERROR(MakeDirectories(options.cache_dir));
  NW_ASSIGN_OR_RETURN(const DirectoryLock lock,
                      DirectoryLock::Acquire(options.cache_dir));
  const Outputs outputs = OutputsIn(options.cache_dir);
  const std::string tokenizer_path =
      options.tokenizer.empty() ? outputs.tokenizer : options.tokenizer;
  if (!options.remake) {
    NW_ASSIGN_OR_RETURN(std::optional<PreparedCorpus> prepared,
                        FindPrepared(inputs, tokenizer_path, outputs));
    if (prepared.has_value()) {
      Log::info("corpus: {} is up to date", options.cache_dir);
      return *std::move(prepared);
    }
  }
  return Prepare(inputs, tokenizer_path, outputs);
}

}  // namespace nextword

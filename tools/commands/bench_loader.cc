#include "tools/commands/bench_loader.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "autograd/base/status.h"
#include "data/loader.h"
#include "data/token_file.h"
#include "data/token_stream.h"
#include "tools/commands/quantity.h"
#include "tools/commands/random_tensor.h"
#include "tools/commands/table.h"
#include "tools/commands/temporary_directory.h"
#include "tools/commands/timing.h"

namespace nextword {
namespace {

// GPT-2's, so that ids have two bytes each.
constexpr Vocabulary kVocabulary = {
    .fingerprint = 1, .size = 50257, .end_of_text = 50256};

// Documents of 999 random ids and an end each.
absl::Status WriteRandomTokens(const std::string& path, int64_t tokens) {
  constexpr int64_t kDocument = 1000;
  const auto fill = [&](TokenFileWriter& writer) -> absl::Status {
    for (int64_t i = 0; i < tokens; i += kDocument) {
      const Tensor ids =
          RandomIds({kDocument - 1}, kVocabulary.end_of_text, i + 1);
      NW_RETURN_IF_ERROR(writer.AddDocument(
          {ids.data<int32_t>(), kDocument - 1}, 4 * kDocument));
    }
    return absl::OkStatus();
  };
  return WriteTokenFile(path, kVocabulary, fill).status();
}

}  // namespace

absl::StatusOr<BenchReport> BenchLoader(int64_t bytes, double seconds) {
  constexpr int64_t kRows = 8;
  constexpr int64_t kLength = 1024;
  NW_ASSIGN_OR_RETURN(const TemporaryDirectory directory,
                      TemporaryDirectory::Create());
  const std::string path = absl::StrCat(directory.path(), "/bench.tokens");
  NW_RETURN_IF_ERROR(WriteRandomTokens(path, bytes / 2));
  NW_ASSIGN_OR_RETURN(TokenStream stream,
                      TokenStream::Open({path}, kVocabulary));
  NW_ASSIGN_OR_RETURN(const Loader loader,
                      Loader::Create(std::move(stream),
                                     {.sequence_length = kLength, .seed = 1}));

  std::vector<int32_t> inputs(kRows * kLength), targets(kRows * kLength);
  uint64_t first = 0;
  const Timing timing = Measure(seconds, [&] {
    loader.GetBatch(first, kRows, inputs.data(), targets.data());
    first += kRows;
  });

  const auto tokens = static_cast<double>(kRows * kLength);
  BenchReport report;
  Table table({"", "median", "best"});
  table.Add({"time", Seconds(timing.median), Seconds(timing.best)});
  table.Add({"batches", Scaled(1 / timing.median, "/s"),
             Scaled(1 / timing.best, "/s")});
  table.Add({"tokens", Scaled(tokens / timing.median, "/s"),
             Scaled(tokens / timing.best, "/s")});
  report.text = absl::StrFormat(
      "%d sequences of %d tokens a batch, out of %s tokens\n%s", kRows, kLength,
      WithCommas(loader.stream().num_tokens()), table.Text());
  report.json = {{"file_tokens", loader.stream().num_tokens()},
                 {"tokens_per_batch", kRows * kLength},
                 {"batches", timing.calls},
                 {"median_batch_seconds", timing.median},
                 {"best_batch_seconds", timing.best},
                 {"median_batches_per_second", 1 / timing.median},
                 {"best_batches_per_second", 1 / timing.best},
                 {"median_tokens_per_second", tokens / timing.median},
                 {"best_tokens_per_second", tokens / timing.best}};
  return report;
}

}  // namespace nextword

#include "tools/commands/bench_tokenizer.h"

#include <chrono>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "autograd/base/status.h"
#include "data/bpe_trainer.h"
#include "data/tokenizer.h"
#include "tools/commands/quantity.h"
#include "tools/commands/table.h"
#include "tools/commands/timing.h"

namespace nextword {

absl::StatusOr<BenchReport> BenchTokenizer(absl::string_view text,
                                           int32_t vocab_size, double seconds) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  NW_ASSIGN_OR_RETURN(const Tokenizer tokenizer,
                      TrainBpe({text}, {.vocab_size = vocab_size}));
  const Timing train =
      TimingOf({std::chrono::duration<double>(Clock::now() - start).count()});

  std::vector<int32_t> ids;
  const Timing encode = Measure(seconds, [&] { ids = tokenizer.Encode(text); });
  std::string decoded;
  const Timing decode =
      Measure(seconds, [&] { decoded = *tokenizer.Decode(ids); });
  NW_CHECK(decoded == text) << "decoding gave another text";

  const auto bytes = static_cast<double>(text.size());
  const auto tokens = static_cast<double>(ids.size());
  BenchReport report;
  report.text = absl::StrFormat(
      "%s of text, %d entries, %s tokens of %.2f bytes\n", Scaled(bytes, "B"),
      vocab_size, WithCommas(ids.size()), bytes / tokens);
  report.json = {{"text_bytes", text.size()},
                 {"vocab_size", vocab_size},
                 {"tokens", ids.size()}};
  Table table({"", "best", "median", "text", "tokens"});
  const auto add = [&](const char* what, const Timing& timing) {
    table.Add({what, Seconds(timing.best), Seconds(timing.median),
               Scaled(bytes / timing.best, "B/s"),
               Scaled(tokens / timing.best, "/s")});
    report.json[what] = {{"best_seconds", timing.best},
                         {"median_seconds", timing.median},
                         {"calls", timing.calls},
                         {"bytes_per_second", bytes / timing.best},
                         {"tokens_per_second", tokens / timing.best}};
  };
  add("train", train);
  add("encode", encode);
  add("decode", decode);
  absl::StrAppend(&report.text, table.Text());
  return report;
}

}  // namespace nextword

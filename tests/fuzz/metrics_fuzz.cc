#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "autograd/base/file.h"
#include "autograd/base/log.h"
#include "autograd/base/status.h"
#include "distributed/metrics.h"
#include "nlohmann/json.hpp"
#include "tests/fuzz/file_fuzz.h"
#include "tests/fuzz/fuzz_file.h"

namespace nextword {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxStep = std::numeric_limits<int64_t>::max();

std::string Open(const std::string& path, int64_t last_step) {
  NW_CHECK_OK(MetricsFile::Open(path, last_step).status());
  const absl::StatusOr<std::string> kept = ReadFile(path);
  NW_CHECK_OK(kept.status());
  return *kept;
}

// Every line that is kept is one of `before`, in the order there, and has a
// step up to `last_step`.
void CheckKept(absl::string_view kept, absl::string_view before,
               int64_t last_step) {
  if (kept.empty()) return;
  NW_CHECK(absl::ConsumeSuffix(&kept, "\n")) << "no end of the last line";
  const std::vector<absl::string_view> lines = absl::StrSplit(before, '\n');
  auto next = lines.begin();
  for (absl::string_view line : absl::StrSplit(kept, '\n')) {
    while (next != lines.end() && *next != line) ++next;
    NW_CHECK(next != lines.end()) << "a line from nowhere: " << line;
    ++next;
    const Json record = Json::parse(line);
    const Json& step = record.at("step");
    // The library compares numbers above 2^63 as negative ones.
    NW_CHECK(step.is_number_integer() && step.get<int64_t>() <= last_step &&
             !(step.is_number_unsigned() && step.get<int64_t>() < 0))
        << line << " is kept after step " << last_step;
  }
}

// What is written goes on behind it, and goes away when a run resumes before.
void CheckAppends(const std::string& path, const std::string& kept,
                  int64_t last_step) {
  {
    absl::StatusOr<MetricsFile> file = MetricsFile::Open(path, last_step);
    NW_CHECK_OK(file.status());
    NW_CHECK_OK(file->Write(last_step + 1, {{"loss", 0.5}, {"tokens", 3L}}));
    NW_CHECK_OK(file->Sync());
  }
  const std::string longer = Open(path, last_step + 1);
  NW_CHECK(absl::StartsWith(longer, kept) && longer.size() > kept.size())
      << "a line written is not there";
  NW_CHECK(Open(path, last_step) == kept) << "a line of a later step stays";
}

}  // namespace

FuzzResult DriveMetrics(absl::string_view input) {
  Log::set_level(Log::level::off);
  std::string most;
  for (const int64_t last_step : {int64_t{-1}, int64_t{2}, kMaxStep}) {
    const std::string path = WriteFuzzFile("metrics.jsonl", input);
    const std::string kept = Open(path, last_step);
    CheckKept(kept, input, last_step);
    NW_CHECK(Open(path, last_step) == kept) << "less at the second time";
    if (last_step < kMaxStep) CheckAppends(path, kept, last_step);
    most = kept;
  }
  if (most == input) return FuzzResult::kAccepted;
  return most.empty() ? FuzzResult::kRefused : FuzzResult::kPartly;
}

}  // namespace nextword

#include "distributed/metrics.h"

#include <cmath>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "autograd/base/directory.h"
#include "autograd/base/log.h"
#include "autograd/base/status.h"
#include "nlohmann/json.hpp"

namespace nextword {
namespace {

using Json = nlohmann::ordered_json;

// The step of a line; nothing when it is no record of ours.
std::optional<int64_t> StepOf(absl::string_view line) {
  // Not ordered_json, which copies what it has parsed: copies recurse into
  // nested values.
  const auto record = nlohmann::json::parse(line.begin(), line.end(), nullptr,
                                            /*allow_exceptions=*/false);
  if (!record.is_object() || !record.contains("step") ||
      !record["step"].is_number_integer()) {
    return std::nullopt;
  }
  // The library would make a negative number of it.
  if (record["step"].is_number_unsigned() &&
      record["step"].get<uint64_t>() > INT64_MAX) {
    return std::nullopt;
  }
  return record["step"].get<int64_t>();
}

// The lines of `text` up to `last_step`.
std::string KeepUpTo(int64_t last_step, const std::string& path,
                     absl::string_view text) {
  std::string kept;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (line.empty()) continue;
    const std::optional<int64_t> step = StepOf(line);
    if (!step.has_value()) {
      Log::warn("{}:{}: is no line of metrics (cut off?); dropped", path,
                number);
    } else if (*step <= last_step) {
      absl::StrAppend(&kept, line, "\n");
    }
  }
  return kept;
}

Json ToJson(double value) {
  if (std::isfinite(value)) return value;
  if (std::isnan(value)) return "NaN";
  return value > 0 ? "Infinity" : "-Infinity";
}
Json ToJson(int64_t value) { return value; }
Json ToJson(const std::string& value) { return value; }

// What a process has left that died while it wrote a new file.
absl::Status RemoveLeftovers(const std::string& path) {
  const std::filesystem::path file(path);
  const std::string prefix = file.filename().string() + ".tmp.";
  const std::string folder = file.parent_path().string();
  if (!folder.empty() && !IsDirectory(folder)) return absl::OkStatus();
  NW_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                      ListDirectory(folder.empty() ? "." : folder));
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, prefix)) continue;
    NW_RETURN_IF_ERROR(RemoveTree((file.parent_path() / name).string()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MetricsFile> MetricsFile::Open(const std::string& path,
                                              int64_t last_step) {
  NW_RETURN_IF_ERROR(RemoveLeftovers(path));
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
  if (text.ok()) {
    const std::string kept = KeepUpTo(last_step, path, *text);
    if (kept != *text) NW_RETURN_IF_ERROR(WriteFileAtomically(path, kept));
  }
  NW_ASSIGN_OR_RETURN(FileWriter file, FileWriter::OpenToAppend(path));
  return MetricsFile(std::move(file));
}

absl::Status MetricsFile::Write(int64_t step,
                                absl::Span<const Metric> metrics) {
  Json record = {{"step", step}};
  for (const Metric& metric : metrics) {
    record[metric.name] = std::visit(
        [](const auto& value) { return ToJson(value); }, metric.value);
  }
  // A sample of text may end within a character: not an error here.
  const std::string line =
      record.dump(-1, ' ', false, Json::error_handler_t::replace);
  const std::lock_guard lock(*mutex_);
  NW_RETURN_IF_ERROR(file_->Append(absl::StrCat(line, "\n")));
  return file_->Flush();
}

absl::Status MetricsFile::Sync() {
  {
    const std::lock_guard lock(*mutex_);
    NW_RETURN_IF_ERROR(file_->Flush());
  }
  return file_->SyncFlushed();
}

}  // namespace nextword

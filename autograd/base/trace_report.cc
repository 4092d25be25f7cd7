#include "autograd/base/trace_report.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "autograd/base/trace.h"

namespace nextword::trace {
namespace {

// Nanoseconds as the microseconds of the format.
std::string Microseconds(int64_t nanoseconds) {
  return absl::StrFormat("%d.%03d", nanoseconds / 1000, nanoseconds % 1000);
}

// The work of a span, where it is known.
std::string Arguments(const Work& work) {
  if (work.flops == 0 && work.bytes == 0) return "";
  return absl::StrFormat(R"(,"args":{"flops":%.0f,"bytes":%.0f})", work.flops,
                         work.bytes);
}

// One event a line, separated by commas.
absl::Status WriteEvents(FileWriter& file) {
  const int pid = getpid();
  NW_RETURN_IF_ERROR(file.Append("{\"traceEvents\":[\n"));
  NW_RETURN_IF_ERROR(file.Append(absl::StrFormat(
      R"({"ph":"M","pid":%d,"name":"process_name","args":{"name":"nextword"}})",
      pid)));
  for (const ThreadTrace& thread : Collect()) {
    NW_RETURN_IF_ERROR(file.Append(
        absl::StrFormat(",\n"
                        R"({"ph":"M","pid":%d,"tid":%d,"name":"thread_name",)"
                        R"("args":{"name":"%s"}})",
                        pid, thread.id, thread.name)));
    for (const SpanRecord& span : thread.spans) {
      NW_RETURN_IF_ERROR(file.Append(absl::StrFormat(
          ",\n"
          R"({"ph":"X","pid":%d,"tid":%d,"cat":"%s","name":"%s","ts":%s,)"
          R"("dur":%s%s})",
          pid, thread.id, span.category, span.name, Microseconds(span.start),
          Microseconds(span.duration), Arguments(span.work))));
    }
  }
  return file.Append("\n],\"displayTimeUnit\":\"ms\"}\n");
}

}  // namespace

absl::Status Write(const std::string& path) {
  return WriteFileAtomically(path, WriteEvents);
}

std::vector<SpanSum> Summarize() {
  std::map<std::pair<absl::string_view, absl::string_view>, SpanSum> sums;
  for (const ThreadTrace& thread : Collect()) {
    for (const SpanRecord& span : thread.spans) {
      SpanSum& sum = sums[{span.category, span.name}];
      ++sum.calls;
      sum.seconds += 1e-9 * static_cast<double>(span.duration);
      sum.self_seconds += 1e-9 * static_cast<double>(span.self);
      sum.work.flops += span.work.flops;
      sum.work.bytes += span.work.bytes;
    }
  }
  std::vector<SpanSum> rows;
  for (auto& [key, sum] : sums) {
    sum.category = std::string(key.first);
    sum.name = std::string(key.second);
    rows.push_back(std::move(sum));
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const SpanSum& a, const SpanSum& b) {
                     return std::tie(a.category, b.self_seconds) <
                            std::tie(b.category, a.self_seconds);
                   });
  return rows;
}

int64_t NumDropped() {
  int64_t dropped = 0;
  for (const ThreadTrace& thread : Collect()) dropped += thread.dropped;
  return dropped;
}

}  // namespace nextword::trace

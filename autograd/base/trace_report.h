// What a tracing recorded, for people: a file for a trace viewer, and sums.
// Of the tracing that was started last; for the thread that started it.
#ifndef NEXTWORD_AUTOGRAD_BASE_TRACE_REPORT_H_
#define NEXTWORD_AUTOGRAD_BASE_TRACE_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "autograd/base/trace.h"

namespace nextword::trace {

// Writes a Chrome trace (the JSON object format; times in microseconds), which
// Perfetto and chrome://tracing open: a row per thread. Appears whole or not
// at all; errors name the path.
absl::Status Write(const std::string& path);

// All spans of one category and name, on all threads.
struct SpanSum {
  std::string category, name;
  int64_t calls = 0;
  double seconds = 0;
  double self_seconds = 0;  // Without the spans nested in them.
  Work work;
};

// By category, and in each the largest self time first.
std::vector<SpanSum> Summarize();

// Spans that were too many to keep, on all threads.
int64_t NumDropped();

}  // namespace nextword::trace

#endif  // NEXTWORD_AUTOGRAD_BASE_TRACE_REPORT_H_

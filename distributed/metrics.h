// The metrics of a run: one JSON object a line, in the order of the steps.
// One writer per file; Sync may be called by another thread than Write.
#ifndef NEXTWORD_DISTRIBUTED_METRICS_H_
#define NEXTWORD_DISTRIBUTED_METRICS_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "autograd/base/file.h"

namespace nextword {

struct Metric {
  std::string name;
  std::variant<int64_t, double, std::string> value;
};

class MetricsFile {
 public:
  // Opens `path` to append to it. Lines of steps after `last_step` are dropped
  // first (by writing a new file in its place), so that a resumed run leaves
  // one continuous history; -1 drops all. So are lines cut off by a crash,
  // with a warning in the log.
  static absl::StatusOr<MetricsFile> Open(const std::string& path,
                                          int64_t last_step);

  // Appends {"step": STEP, NAME: VALUE, ...} and hands it to the system, where
  // a reader sees it. A number that is not finite, for which JSON has no name,
  // is written as the string "NaN", "Infinity" or "-Infinity". After an error,
  // the line is kept, and written with the next, or by Sync.
  absl::Status Write(int64_t step, absl::Span<const Metric> metrics);

  // Makes all lines durable. To be called before a checkpoint: what a resumed
  // run does not do again must not be lost.
  absl::Status Sync();

 private:
  explicit MetricsFile(FileWriter file)
      : file_(std::make_unique<FileWriter>(std::move(file))) {}

  // Of the buffer. Nobody holds it while the disk works.
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();
  std::unique_ptr<FileWriter> file_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_METRICS_H_

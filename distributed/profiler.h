// Traces some steps of a run and writes them to a file.
#ifndef NEXTWORD_DISTRIBUTED_PROFILER_H_
#define NEXTWORD_DISTRIBUTED_PROFILER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "distributed/progress.h"

namespace nextword {

// Tracing is the process's own, so there is one of these at a time. Not
// thread-safe.
class Profiler {
 public:
  // Traces nothing.
  Profiler() = default;

  // Traces `steps` of the `steps_left` that are to come, into `path`. The first
  // two, which warm up, are left out where there are enough.
  Profiler(int64_t steps, int64_t steps_left, std::string path);

  // To be called around each step and what follows it. After the last traced
  // one the file is written, and `progress` told. Error: the file's.
  void BeforeStep();
  absl::Status AfterStep(Progress* progress);

 private:
  int64_t seen_ = 0;  // Steps.
  int64_t begin_ = 0, end_ = 0;
  std::string path_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_PROFILER_H_

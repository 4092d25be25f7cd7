#include "distributed/profiler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"
#include "autograd/base/trace.h"
#include "autograd/base/trace_report.h"

namespace nextword {
namespace {

// Memory is asked for in the first steps, and not any more after them.
constexpr int64_t kWarmUpSteps = 2;

}  // namespace

Profiler::Profiler(int64_t steps, int64_t steps_left, std::string path)
    : begin_(std::clamp<int64_t>(steps_left - steps, 0, kWarmUpSteps)),
      end_(std::min(begin_ + steps, steps_left)),
      path_(std::move(path)) {}

void Profiler::BeforeStep() {
  if (seen_ == begin_ && begin_ < end_) trace::Start();
}

absl::Status Profiler::AfterStep(Progress* progress) {
  if (++seen_ != end_) return absl::OkStatus();
  trace::Stop();
  NW_RETURN_IF_ERROR(trace::Write(path_));
  std::string said =
      absl::StrCat("traced ", end_ - begin_, " steps into ", path_);
  if (const int64_t dropped = trace::NumDropped(); dropped > 0) {
    absl::StrAppend(&said, ", all but the last ", dropped,
                    " spans; fewer steps have room");
  }
  progress->Say(said);
  return absl::OkStatus();
}

}  // namespace nextword

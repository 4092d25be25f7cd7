// What this process is doing right now, so that a hang becomes a sentence:
// "rank 3 has been in data read (train.tokens) of step 7 for 92 s".
//
// One state for the whole process, kept by the thread that drives training;
// heartbeats and error reports read it. Thread-safe; a scope costs a lock, a
// look at the clock and two copies of short strings.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_ACTIVITY_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_ACTIVITY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace nextword {

// Whether a phase makes progress by itself or only when other ranks do. In a
// hang, ranks that wait are not to blame.
enum class ActivityKind { kWorks, kWaitsForOthers };

struct Activity {
  std::string phase;   // "data read", "all-reduce"; empty: in no scope.
  std::string detail;  // A path, "bucket 2"; may be empty.
  int64_t step = -1;   // -1: before the first.
  ActivityKind kind = ActivityKind::kWorks;
  absl::Time since;  // When any of the above last changed.
};

// While one lives, the process is in `phase`; then in what surrounds it again.
// Scopes nest. Those of several threads may end in any order: the newest that
// lives counts.
class ActivityScope {
 public:
  explicit ActivityScope(absl::string_view phase, absl::string_view detail = "",
                         ActivityKind kind = ActivityKind::kWorks);
  ~ActivityScope();
  ActivityScope(const ActivityScope&) = delete;
  ActivityScope& operator=(const ActivityScope&) = delete;

 private:
  friend struct ActivityState;

  const std::string phase_;
  const std::string detail_;
  const ActivityKind kind_;
  ActivityScope* outer_ = nullptr;
};

// The optimizer step at work from now on.
void SetActivityStep(int64_t step);

Activity CurrentActivity();

// The last 100 scopes that were entered, the oldest first, a line each:
// "2024-05-01 12:00:00.123 step 7: data read (train.tokens)".
std::vector<std::string> RecentEvents();

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_ACTIVITY_H_

#include "distributed/rendezvous/activity.h"

#include <array>
#include <cstddef>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace nextword {
namespace {

struct Event {
  absl::Time time;
  int64_t step;
  std::string phase;
  std::string detail;
};

std::string Line(const Event& event) {
  std::string line = absl::FormatTime("%Y-%m-%d %H:%M:%E3S", event.time,
                                      absl::LocalTimeZone());
  if (event.step >= 0) absl::StrAppend(&line, " step ", event.step);
  absl::StrAppend(&line, ": ", event.phase);
  if (!event.detail.empty()) absl::StrAppend(&line, " (", event.detail, ")");
  return line;
}

}  // namespace

// One per process, and never destroyed: threads may outlive main.
struct ActivityState {
  static ActivityState& Get() {
    static auto* const state = new ActivityState;
    return *state;
  }

  void Enter(ActivityScope* scope) {
    const absl::Time now = absl::Now();
    const std::lock_guard lock(mutex);
    scope->outer_ = innermost;
    innermost = scope;
    since = now;
    Event& event = events[num_events++ % events.size()];
    event.time = now;
    event.step = step;
    event.phase = scope->phase_;
    event.detail = scope->detail_;
  }

  void Exit(ActivityScope* scope) {
    const absl::Time now = absl::Now();
    const std::lock_guard lock(mutex);
    if (innermost == scope) since = now;
    ActivityScope** link = &innermost;
    while (*link != scope) link = &(*link)->outer_;
    *link = scope->outer_;
  }

  void SetStep(int64_t new_step) {
    const absl::Time now = absl::Now();
    const std::lock_guard lock(mutex);
    if (step != new_step) since = now;
    step = new_step;
  }

  Activity Current() {
    const std::lock_guard lock(mutex);
    Activity activity;
    if (innermost != nullptr) {
      activity.phase = innermost->phase_;
      activity.detail = innermost->detail_;
      activity.kind = innermost->kind_;
    }
    activity.step = step;
    activity.since = since;
    return activity;
  }

  std::vector<std::string> Lines() {
    const std::lock_guard lock(mutex);
    std::vector<std::string> lines;
    const size_t first =
        num_events > events.size() ? num_events - events.size() : 0;
    for (size_t i = first; i < num_events; ++i) {
      lines.push_back(Line(events[i % events.size()]));
    }
    return lines;
  }

  std::mutex mutex;
  ActivityScope* innermost = nullptr;
  int64_t step = -1;
  absl::Time since = absl::Now();
  std::array<Event, 100> events;
  size_t num_events = 0;
};

ActivityScope::ActivityScope(absl::string_view phase, absl::string_view detail,
                             ActivityKind kind)
    : phase_(phase), detail_(detail), kind_(kind) {
  ActivityState::Get().Enter(this);
}

ActivityScope::~ActivityScope() { ActivityState::Get().Exit(this); }

void SetActivityStep(int64_t step) { ActivityState::Get().SetStep(step); }

Activity CurrentActivity() { return ActivityState::Get().Current(); }

std::vector<std::string> RecentEvents() { return ActivityState::Get().Lines(); }

}  // namespace nextword

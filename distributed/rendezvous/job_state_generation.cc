// A generation of a job: how it begins, is judged and ends.
#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "distributed/rendezvous/facts.h"
#include "distributed/rendezvous/job_state.h"
#include "distributed/rendezvous/limits.h"
#include "distributed/rendezvous/plain_text.h"

namespace nextword::rendezvous {
namespace {

using Kind = JobState::Notice::Kind;
using Presence = Member::Presence;

bool InTrouble(const Member& member) {
  return member.trouble_since != absl::InfiniteFuture();
}

// Its launcher saw it end, and it did not say why itself.
bool SurelyDied(const Member& member) {
  return InTrouble(member) && member.report.has_value() &&
         !member.failure.has_value();
}

}  // namespace

void JobState::Tick(absl::Time now) {
  values_.Tick(now);
  DropSilentArrivals(now);
  if (!running_ && !arrivals_.empty() &&
      now - arrivals_since_ >= options_.start_timeout) {
    FailArrivals(absl::DeadlineExceededError(
        absl::StrCat("after ", PlainDuration(options_.start_timeout), " only ",
                     WaitingFor())));
  }
  if (running_) Judge(now);
  if (running_) CheckSilence(now);
  if (running_) CheckDeadlines(now);
}

// Whoever waits and is cut off must not be in the way of its successor.
void JobState::DropSilentArrivals(absl::Time now) {
  std::vector<int> silent;
  for (const auto& [rank, member] : arrivals_) {
    if (now - member.last_sign < options_.heartbeat_timeout) continue;
    Finish(member, absl::AbortedError(absl::StrCat(
                       NameOf(member), " has sent no sign of life for ",
                       PlainDuration(now - member.last_sign),
                       " while it waited for the others")));
    silent.push_back(rank);
  }
  for (int rank : silent) EraseArrival(rank);
}

const std::string& JobState::WaitingFor() {
  if (!waiting_for_.empty()) return waiting_for_;
  constexpr size_t kMost = 8;
  std::vector<std::string> missing;
  const size_t num_missing = options_.world_size - arrivals_.size();
  for (int rank = 0; rank < options_.world_size; ++rank) {
    if (missing.size() == kMost) break;
    if (!arrivals_.contains(rank)) missing.push_back(absl::StrCat(rank));
  }
  waiting_for_ = absl::StrCat(
      arrivals_.size(), " of ", options_.world_size, " ranks are here; ",
      num_missing == 1 ? "rank " : "ranks ", absl::StrJoin(missing, ", "),
      num_missing > kMost
          ? absl::StrCat(" and ", num_missing - kMost, " more are missing")
      : num_missing == 1 ? std::string(" is missing")
                         : std::string(" are missing"));
  return waiting_for_;
}

void JobState::StartIfComplete(absl::Time now) {
  if (running_ || static_cast<int>(arrivals_.size()) < options_.world_size) {
    return;
  }
  const absl::Status same = CheckFacts(arrivals_);
  if (!same.ok()) {
    FailArrivals(same);
    return;
  }
  ++generation_;
  running_ = true;
  started_ = now;
  members_ = std::exchange(arrivals_, {});
  waiting_for_.clear();
  for (auto& [rank, member] : members_) {
    member.doing.duration = absl::ZeroDuration();
    Notice& notice = notices_.emplace_back();
    notice.kind = Kind::kStarted;
    notice.session = member.session;
    notice.event.set_generation(generation_);
    notice.event.mutable_started();
  }
  TellLaunchers().mutable_started();
}

void JobState::FailArrivals(const absl::Status& status) {
  ++generation_;
  const absl::Status clipped(status.code(),
                             PlainText(status.message(), kMaxSentenceBytes));
  over_.clear();
  std::vector<int> ranks;
  for (const auto& [rank, member] : arrivals_) {
    Finish(member, clipped);
    over_[member.session] = clipped;
    ranks.push_back(rank);
  }
  for (int rank : ranks) EraseArrival(rank);
  TellLaunchers().set_aborted(std::string(clipped.message()));
}

void JobState::EndIfAllLeft(absl::Time now) {
  const bool all = std::all_of(
      members_.begin(), members_.end(), [](const auto& rank_and_member) {
        return rank_and_member.second.presence == Presence::kLeft;
      });
  if (!all) return;
  TellLaunchers().mutable_ended();
  EndGeneration(absl::OkStatus(), now);
}

void JobState::Abort(absl::string_view sentence, absl::Time now) {
  const std::string plain = PlainText(sentence, kMaxSentenceBytes);
  TellLaunchers().set_aborted(plain);
  EndGeneration(absl::AbortedError(plain), now);
}

void JobState::EndGeneration(const absl::Status& status, absl::Time now) {
  over_.clear();
  for (const auto& [rank, member] : members_) {
    Finish(member, status);
    over_[member.session] = status;
    last_pids_[rank] = member.pid;
    rank_of_.erase(member.session);
  }
  members_.clear();
  running_ = false;
  values_.Clear(status.ok() ? absl::CancelledError("the job has ended")
                            : status);
  arrivals_since_ = now;
  StartIfComplete(now);
}

void JobState::Stop(absl::string_view sentence, absl::Time now) {
  // First, or they would start the next generation.
  if (!arrivals_.empty()) FailArrivals(absl::AbortedError(sentence));
  if (running_) Abort(sentence, now);
}

// Looks for the rank that ended or failed first; the others may only have
// suffered from that, and may have been heard sooner.
void JobState::Judge(absl::Time now) {
  const Member* culprit = nullptr;
  absl::Time first = absl::InfiniteFuture();
  bool all_in_trouble = true;
  // Less is more to blame.
  const auto blame = [](const Member& member) {
    const bool failed = member.failure.has_value();
    return std::make_tuple(failed, failed && member.doing.waits_for_others,
                           member.trouble_since, member.rank);
  };
  for (const auto& [rank, member] : members_) {
    if (!InTrouble(member)) {
      all_in_trouble &= member.presence == Presence::kLeft;
      continue;
    }
    first = std::min(first, member.trouble_since);
    if (culprit == nullptr || blame(member) < blame(*culprit)) {
      culprit = &member;
    }
  }
  if (culprit == nullptr) return;
  const bool certain =
      SurelyDied(*culprit) || (culprit->failure.has_value() && all_in_trouble);
  if (certain || now - first >= options_.verdict_delay) {
    Abort(SentenceOfTrouble(members_, *culprit, now), now);
  }
}

void JobState::CheckSilence(absl::Time now) {
  const Member* culprit = nullptr;
  for (const auto& [rank, member] : members_) {
    if (member.presence != Presence::kHere || InTrouble(member)) continue;
    if (culprit == nullptr || member.last_sign < culprit->last_sign) {
      culprit = &member;
    }
  }
  if (culprit != nullptr &&
      now - culprit->last_sign >= options_.heartbeat_timeout) {
    Abort(SentenceOfSilence(members_, *culprit, now), now);
  }
}

void JobState::CheckDeadlines(absl::Time now) {
  for (const auto& [rank, member] : members_) {
    if (member.presence != Presence::kHere || InTrouble(member)) continue;
    const absl::Duration most = options_.phase_deadlines.Of(member.doing.phase);
    if (most <= absl::ZeroDuration() || member.doing.duration < most) continue;
    const Member& culprit = WhoHoldsUp(members_, member);
    if (options_.phase_deadlines.IsFree(culprit.doing.phase)) continue;
    // Whoever has just begun something is not stuck; others may have waited
    // long for what it did before.
    if (&culprit != &member &&
        culprit.doing.duration < options_.heartbeat_timeout) {
      continue;
    }
    Abort(SentenceOfDeadline(members_, culprit, now), now);
    return;
  }
}

}  // namespace nextword::rendezvous

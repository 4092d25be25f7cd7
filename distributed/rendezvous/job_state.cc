#include "distributed/rendezvous/job_state.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/base/check.h"
#include "autograd/base/status.h"
#include "distributed/rendezvous/facts.h"
#include "distributed/rendezvous/limits.h"
#include "distributed/rendezvous/plain_text.h"

namespace nextword::rendezvous {
namespace {

using Kind = JobState::Notice::Kind;
using Presence = Member::Presence;

// A peer's number of seconds, which may be any; at most a month.
absl::Duration SecondsOf(double seconds) {
  if (!(seconds > 0)) return absl::ZeroDuration();
  return absl::Seconds(std::min(seconds, 30 * 86400.0));
}

absl::Status CheckRun(absl::string_view who, int protocol,
                      const std::string& run_id, const std::string& wanted) {
  if (protocol != kProtocol) {
    return absl::InvalidArgumentError(absl::StrCat(
        who, " speaks protocol ", protocol, " of the rendezvous, and the ",
        "coordinator protocol ", kProtocol, ": run the same program on all"));
  }
  if (run_id != wanted) {
    return absl::InvalidArgumentError(
        absl::StrCat(who, " belongs to run '", PlainText(run_id, 64),
                     "', and the coordinator to run '", wanted, "'"));
  }
  return absl::OkStatus();
}

absl::Status CheckSize(absl::string_view what, size_t size, size_t most) {
  if (size <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": ", size, " bytes, wanted at most ", most));
}

Member MemberOf(const JoinRequest& request) {
  Member member;
  member.rank = request.rank();
  member.host = PlainText(request.host(), kMaxHostBytes);
  member.pid = request.pid();
  for (const auto& fact : request.fact()) {
    member.facts[fact.name()] = fact.value();
  }
  return member;
}

}  // namespace

JobState::JobState(const Options& options)
    : options_(options), next_session_(options.first_session) {
  NW_CHECK_GT(options_.world_size, 0);
}

absl::Status JobState::CheckJoin(const JoinRequest& request) const {
  const std::string who =
      absl::StrCat("rank ", request.rank(), " at ",
                   PlainText(request.host(), kMaxHostBytes));
  NW_RETURN_IF_ERROR(
      CheckRun(who, request.protocol(), request.run_id(), options_.run_id));
  if (request.world_size() != options_.world_size) {
    return absl::InvalidArgumentError(absl::StrCat(
        who, " has a world of ", request.world_size(),
        " ranks, and the coordinator one of ", options_.world_size));
  }
  if (request.rank() < 0 || request.rank() >= options_.world_size) {
    return absl::InvalidArgumentError(absl::StrCat(
        who, ": wanted a rank from 0 to ", options_.world_size - 1));
  }
  if (request.host().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(who, ": no host"));
  }
  NW_RETURN_IF_ERROR(CheckSize("host", request.host().size(), kMaxHostBytes));
  if (request.fact_size() > kMaxFacts) {
    return absl::InvalidArgumentError(absl::StrCat(
        who, ": ", request.fact_size(), " facts, wanted at most ", kMaxFacts));
  }
  for (const auto& fact : request.fact()) {
    NW_RETURN_IF_ERROR(
        CheckSize("a fact's name", fact.name().size(), kMaxFactNameBytes));
    NW_RETURN_IF_ERROR(CheckSize(absl::StrCat("fact ", fact.name()),
                                 fact.value().size(), kMaxFactValueBytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> JobState::Join(const JoinRequest& request,
                                        absl::Time now) {
  NW_RETURN_IF_ERROR(CheckJoin(request));
  Member member = MemberOf(request);
  for (const Members* ranks : {&members_, &arrivals_}) {
    const auto other = ranks->find(member.rank);
    if (other == ranks->end()) continue;
    // A rank that has reported its end cannot be in the way of its successor.
    if (other->second.presence == Presence::kHere &&
        other->second.trouble_since == absl::InfiniteFuture()) {
      return absl::AlreadyExistsError(absl::StrCat(
          "rank ", member.rank, " is already here: host ", other->second.host,
          ", pid ", other->second.pid, "; a second one at ", member.host,
          ", pid ", member.pid, " was refused"));
    }
  }
  member.session = next_session_++;
  member.last_sign = now;
  if (arrivals_.empty()) arrivals_since_ = now;
  const uint64_t session = member.session;
  rank_of_[session] = member.rank;
  const int rank = member.rank;
  arrivals_.insert_or_assign(rank, std::move(member));
  waiting_for_.clear();
  StartIfComplete(now);
  return session;
}

Member* JobState::Find(Members& members, uint64_t session) {
  const auto rank = rank_of_.find(session);
  if (rank == rank_of_.end()) return nullptr;
  const auto member = members.find(rank->second);
  if (member == members.end() || member->second.session != session) {
    return nullptr;
  }
  return &member->second;
}

absl::StatusOr<Member*> JobState::FindRunning(uint64_t session) {
  Member* member = Find(members_, session);
  if (member != nullptr && member->presence == Presence::kHere) return member;
  if (member != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(NameOf(*member), " has left"));
  }
  if (Find(arrivals_, session) != nullptr) {
    return absl::FailedPreconditionError("not all ranks are here yet");
  }
  const auto over = over_.find(session);
  if (over != over_.end() && !over->second.ok()) return over->second;
  return absl::NotFoundError("this rank is no part of the job (any more)");
}

void JobState::EraseArrival(int rank) {
  const auto arrival = arrivals_.find(rank);
  if (arrival == arrivals_.end()) return;
  last_pids_[rank] = arrival->second.pid;
  rank_of_.erase(arrival->second.session);
  arrivals_.erase(arrival);
  waiting_for_.clear();
}

void JobState::Close(uint64_t session, absl::Time now) {
  if (const Member* arrival = Find(arrivals_, session)) {
    EraseArrival(arrival->rank);
    return;
  }
  Member* member = Find(members_, session);
  if (member == nullptr || member->presence != Presence::kHere) return;
  member->presence = Presence::kGone;
  member->trouble_since = std::min(member->trouble_since, now);
  Judge(now);
}

absl::StatusOr<HeartbeatReply> JobState::Heartbeat(
    const HeartbeatRequest& request, absl::Time now) {
  HeartbeatReply reply;
  Member* member = Find(arrivals_, request.session());
  if (member != nullptr) {
    reply.set_waiting_for(WaitingFor());
  } else {
    NW_ASSIGN_OR_RETURN(member, FindRunning(request.session()));
  }
  member->last_sign = now;
  member->doing.phase = PlainText(request.phase(), kMaxPhaseBytes);
  member->doing.detail = PlainText(request.detail(), kMaxDetailBytes);
  member->doing.step = request.step();
  member->doing.waits_for_others = request.waits_for_others();
  // What it did before all were here does not count.
  const absl::Duration most = running_ ? now - started_ : absl::ZeroDuration();
  member->doing.duration = std::min(SecondsOf(request.seconds()), most);
  return reply;
}

absl::Status JobState::Put(const PutRequest& request) {
  NW_RETURN_IF_ERROR(FindRunning(request.session()).status());
  return values_.Put(request.key(), request.value());
}

void JobState::Get(uint64_t call, const GetRequest& request, absl::Time now) {
  const auto member = FindRunning(request.session());
  if (member.ok()) {
    values_.Get(call, request.key(),
                now + SecondsOf(request.timeout_seconds()));
  } else {
    notices_.push_back({Kind::kAnswer, 0, call, member.status()});
  }
}

absl::Status JobState::Leave(const LeaveRequest& request, absl::Time now) {
  NW_ASSIGN_OR_RETURN(Member * member, FindRunning(request.session()));
  if (member->failure.has_value()) return absl::OkStatus();
  Finish(*member, absl::OkStatus());
  member->presence = Presence::kLeft;
  member->trouble_since = absl::InfiniteFuture();
  EndIfAllLeft(now);
  return absl::OkStatus();
}

absl::Status JobState::Fail(const FailRequest& request, absl::Time now) {
  NW_ASSIGN_OR_RETURN(Member * member, FindRunning(request.session()));
  if (member->failure.has_value()) return absl::OkStatus();
  member->failure = PlainText(request.sentence(), kMaxReasonBytes);
  member->trouble_since = std::min(member->trouble_since, now);
  Judge(now);
  return absl::OkStatus();
}

absl::Status JobState::CheckWatch(const WatchRequest& request) const {
  return CheckRun(absl::StrCat("the launcher on ",
                               PlainText(request.node(), kMaxHostBytes)),
                  request.protocol(), request.run_id(), options_.run_id);
}

absl::Status JobState::Report(const ReportRequest& request, absl::Time now) {
  NW_RETURN_IF_ERROR(
      CheckRun(absl::StrCat("the launcher on ",
                            PlainText(request.node(), kMaxHostBytes)),
               kProtocol, request.run_id(), options_.run_id));
  if (request.rank() < 0 || request.rank() >= options_.world_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("a report of rank ", request.rank(),
                     ": wanted one from 0 to ", options_.world_size - 1));
  }
  // One that came while the coordinator was started again.
  if (request.coordinator() != 0 &&
      request.coordinator() != options_.first_session) {
    return absl::OkStatus();
  }
  const auto found = members_.find(request.rank());
  if (found == members_.end()) {
    ReportArrival(request);
    return absl::OkStatus();
  }
  Member& member = found->second;
  if (member.presence == Presence::kLeft) return absl::OkStatus();
  member.report = PlainText(request.sentence(), kMaxReasonBytes);
  // Another process under the launcher's (a script around it) may live on.
  const bool surely = request.pid() == 0 || request.pid() == member.pid ||
                      member.presence == Presence::kGone;
  if (surely) {
    member.trouble_since = std::min(member.trouble_since, now);
    Judge(now);
  }
  return absl::OkStatus();
}

// A process that ended before all were here. The report may also be a late one
// of the generation before, which is not to spoil the next.
void JobState::ReportArrival(const ReportRequest& request) {
  if (running_) return;
  const int rank = request.rank();
  const auto arrival = arrivals_.find(rank);
  const auto last = last_pids_.find(rank);
  if (arrival != arrivals_.end()) {
    if (request.pid() != 0 && request.pid() != arrival->second.pid) return;
  } else if (last != last_pids_.end()) {
    const bool late = request.pid() == 0 || request.pid() == last->second;
    last_pids_.erase(last);  // Reported once.
    if (late) return;
  }
  const std::string name =
      arrival != arrivals_.end()
          ? NameOf(arrival->second)
          : absl::StrCat("rank ", rank, " on ",
                         PlainText(request.node(), kMaxHostBytes));
  FailArrivals(absl::AbortedError(
      absl::StrCat(name, " ended before all ranks were here: ",
                   PlainText(request.sentence(), kMaxReasonBytes))));
}

std::vector<JobState::Notice> JobState::TakeNotices() {
  std::vector<Notice> notices = std::exchange(notices_, {});
  for (ValueStore::Answer& answer : values_.TakeAnswers()) {
    Notice& notice = notices.emplace_back();
    notice.kind = Kind::kAnswer;
    notice.call = answer.call;
    notice.status = answer.value.status();
    if (answer.value.ok()) notice.value = *std::move(answer.value);
  }
  return notices;
}

void JobState::Finish(const Member& member, const absl::Status& status) {
  if (member.presence != Presence::kHere) return;
  notices_.push_back({Kind::kFinished, member.session, 0, status});
}

Event& JobState::TellLaunchers() {
  Notice& notice = notices_.emplace_back();
  notice.kind = Kind::kNews;
  notice.event.set_generation(generation_);
  return notice.event;
}

}  // namespace nextword::rendezvous

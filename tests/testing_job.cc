#include "tests/testing_job.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "autograd/base/check.h"
#include "autograd/base/status.h"
#include "distributed/rendezvous/limits.h"

namespace nextword::rendezvous {
namespace {

using Kind = JobState::Notice::Kind;

}  // namespace

TestJob::TestJob(int world_size, JobState::Options options)
    : world_size_(world_size) {
  options.world_size = world_size;
  options.run_id = "run";
  state_ = std::make_unique<JobState>(options);
}

JoinRequest TestJob::Request(int rank) const {
  JoinRequest request;
  request.set_protocol(kProtocol);
  request.set_run_id("run");
  request.set_world_size(world_size_);
  request.set_rank(rank);
  request.set_host(absl::StrCat("node-", rank));
  request.set_pid(100 + rank);
  return request;
}

absl::Status TestJob::Join(const JoinRequest& request) {
  const auto session = state_->Join(request, now_);
  if (session.ok()) sessions_[request.rank()] = *session;
  Take();
  return session.status();
}

absl::Status TestJob::JoinAll() {
  for (int rank = 0; rank < world_size_; ++rank) {
    NW_RETURN_IF_ERROR(Join(rank));
  }
  return absl::OkStatus();
}

absl::StatusOr<HeartbeatReply> TestJob::Beat(int rank, const std::string& phase,
                                             const std::string& detail,
                                             int64_t step, bool waits,
                                             double seconds) {
  HeartbeatRequest request;
  request.set_session(sessions_[rank]);
  request.set_phase(phase);
  request.set_detail(detail);
  request.set_step(step);
  request.set_waits_for_others(waits);
  request.set_seconds(seconds);
  const auto reply = state_->Heartbeat(request, now_);
  Take();
  return reply;
}

void TestJob::Do(int rank, const std::string& phase, const std::string& detail,
                 int64_t step, bool waits) {
  HeartbeatRequest& doing = doing_[rank];
  doing.set_phase(phase);
  doing.set_detail(detail);
  doing.set_step(step);
  doing.set_waits_for_others(waits);
  doing.set_seconds(0);
  Beat(rank, phase, detail, step, waits).IgnoreError();
}

void TestJob::Pass(absl::Duration duration, const std::vector<int>& silent) {
  constexpr absl::Duration kStep = absl::Milliseconds(100);
  const absl::Time end = now_ + duration;
  while (now_ < end) {
    now_ += kStep;
    for (auto& [rank, doing] : doing_) {
      doing.set_seconds(doing.seconds() + absl::ToDoubleSeconds(kStep));
      doing.set_session(sessions_[rank]);
      if (std::count(silent.begin(), silent.end(), rank) > 0) continue;
      state_->Heartbeat(doing, now_).IgnoreError();
    }
    state_->Tick(now_);
    Take();
  }
}

void TestJob::Close(int rank) {
  doing_.erase(rank);
  state_->Close(sessions_[rank], now_);
  Take();
}

absl::Status TestJob::Leave(int rank) {
  LeaveRequest request;
  request.set_session(sessions_[rank]);
  const absl::Status status = state_->Leave(request, now_);
  Take();
  return status;
}

absl::Status TestJob::Fail(int rank, const std::string& sentence) {
  FailRequest request;
  request.set_session(sessions_[rank]);
  request.set_sentence(sentence);
  const absl::Status status = state_->Fail(request, now_);
  Take();
  return status;
}

absl::Status TestJob::Report(int rank, const std::string& sentence, int64_t pid,
                             uint64_t coordinator) {
  ReportRequest request;
  request.set_run_id("run");
  request.set_node(absl::StrCat("node-", rank));
  request.set_rank(rank);
  request.set_pid(pid);
  request.set_sentence(sentence);
  request.set_coordinator(coordinator);
  const absl::Status status = state_->Report(request, now_);
  Take();
  return status;
}

absl::Status TestJob::Put(int rank, const std::string& key,
                          const std::string& value) {
  PutRequest request;
  request.set_session(sessions_[rank]);
  request.set_key(key);
  request.set_value(value);
  const absl::Status status = state_->Put(request);
  Take();
  return status;
}

void TestJob::Get(uint64_t call, int rank, const std::string& key,
                  double seconds) {
  GetRequest request;
  request.set_session(sessions_[rank]);
  request.set_key(key);
  request.set_timeout_seconds(seconds);
  state_->Get(call, request, now_);
  Take();
}

std::string TestJob::EndOf(int rank) const {
  const auto end = ends_.find(sessions_.at(rank));
  return end == ends_.end() ? "" : end->second.ToString();
}

std::string TestJob::AnswerTo(uint64_t call) const {
  const auto answer = answers_.find(call);
  return answer == answers_.end() ? "" : answer->second;
}

void TestJob::Take() {
  for (JobState::Notice& notice : state_->TakeNotices()) {
    const Event& event = notice.event;
    switch (notice.kind) {
      case Kind::kStarted:
        started_[notice.session] = event.generation();
        break;
      case Kind::kFinished:
        NW_CHECK(!ends_.contains(notice.session)) << "told twice";
        ends_[notice.session] = notice.status;
        break;
      case Kind::kAnswer:
        NW_CHECK(!answers_.contains(notice.call)) << "answered twice";
        answers_[notice.call] =
            notice.status.ok() ? notice.value : notice.status.ToString();
        break;
      case Kind::kNews:
        news_.push_back(absl::StrCat(event.generation(),
                                     event.has_started() ? " started"
                                     : event.has_ended() ? " ended"
                                                         : " aborted: ",
                                     event.aborted()));
        break;
    }
  }
}

}  // namespace nextword::rendezvous

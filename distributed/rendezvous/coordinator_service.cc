#include "distributed/rendezvous/coordinator_service.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/log.h"
#include "autograd/base/status.h"
#include "distributed/rendezvous/grpc_status.h"
#include "distributed/rendezvous/limits.h"
#include "distributed/rendezvous/plain_text.h"

namespace nextword::rendezvous {
namespace {

using Kind = JobState::Notice::Kind;

// Takes as long for every `given` of one length.
bool SameSecret(const std::string& secret, grpc::string_ref given) {
  unsigned difference = secret.size() != given.size() ? 1 : 0;
  for (size_t i = 0; i < given.size(); ++i) {
    difference |=
        static_cast<unsigned char>(secret[i % secret.size()] ^ given.data()[i]);
  }
  return difference == 0;
}

}  // namespace

CoordinatorService::CoordinatorService(const JobState::Options& options,
                                       const std::string& token)
    : token_(token), name_(options.first_session), state_(options) {}

absl::Status CoordinatorService::Authenticate(const Context& context) const {
  const auto [begin, end] = context.client_metadata().equal_range(kTokenKey);
  if (begin != end && SameSecret(token_, begin->second)) {
    return absl::OkStatus();
  }
  const std::string peer = PlainText(context.peer(), kMaxHostBytes);
  Log::warn("coordinator: {} sent {}; refused", peer,
            begin == end ? "no token" : "a wrong token");
  return absl::UnauthenticatedError(
      begin == end ? "the coordinator wants the job's token, and got none"
                   : "this is not the token of the coordinator's job");
}

CoordinatorService::Unary* CoordinatorService::Answer(
    Context* context, const std::function<absl::Status()>& act) {
  absl::Status status = Authenticate(*context);
  if (status.ok()) {
    const std::lock_guard lock(mutex_);
    status = act();
    Deliver();
  }
  Unary* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

CoordinatorService::Stream* CoordinatorService::Refuse(
    const absl::Status& status) {
  const auto stream = EventStream::Make(nullptr);
  stream->End(ToGrpc(status));
  return stream.get();  // Lives until gRPC is done with it.
}

CoordinatorService::Stream* CoordinatorService::Join(
    Context* context, const JoinRequest* request) {
  const absl::Status authentic = Authenticate(*context);
  if (!authentic.ok()) return Refuse(authentic);
  const std::lock_guard lock(mutex_);
  if (stopped_) return Refuse(absl::UnavailableError("has stopped"));
  const auto session = state_.Join(*request, clock_.Now());
  if (!session.ok()) {
    Log::warn("coordinator: {}",
              PlainText(session.status().message(), kMaxSentenceBytes));
    return Refuse(session.status());
  }
  const auto stream = EventStream::Make([this, session = *session] {
    const std::lock_guard lock(mutex_);
    ranks_.erase(session);
    state_.Close(session, clock_.Now());
    Deliver();
  });
  ranks_[*session] = stream;
  Event event;
  event.mutable_accepted()->set_session(*session);
  stream->Send(event);
  Deliver();
  return stream.get();
}

CoordinatorService::Unary* CoordinatorService::Heartbeat(
    Context* context, const HeartbeatRequest* request, HeartbeatReply* reply) {
  return Answer(context, [&]() -> absl::Status {
    NW_ASSIGN_OR_RETURN(*reply, state_.Heartbeat(*request, clock_.Now()));
    return absl::OkStatus();
  });
}

CoordinatorService::Unary* CoordinatorService::Put(Context* context,
                                                   const PutRequest* request,
                                                   PutReply*) {
  return Answer(context, [&] { return state_.Put(*request); });
}

CoordinatorService::Unary* CoordinatorService::Get(Context* context,
                                                   const GetRequest* request,
                                                   GetReply* reply) {
  const absl::Status authentic = Authenticate(*context);
  Unary* reactor = context->DefaultReactor();
  if (!authentic.ok()) {
    reactor->Finish(ToGrpc(authentic));
    return reactor;
  }
  const std::lock_guard lock(mutex_);
  const uint64_t call = next_id_++;
  waiting_gets_[call] = {reactor, reply};
  state_.Get(call, *request, clock_.Now());
  Deliver();
  return reactor;
}

CoordinatorService::Unary* CoordinatorService::Leave(
    Context* context, const LeaveRequest* request, LeaveReply*) {
  return Answer(context, [&] { return state_.Leave(*request, clock_.Now()); });
}

CoordinatorService::Unary* CoordinatorService::Fail(Context* context,
                                                    const FailRequest* request,
                                                    FailReply*) {
  return Answer(context, [&] { return state_.Fail(*request, clock_.Now()); });
}

CoordinatorService::Stream* CoordinatorService::Watch(
    Context* context, const WatchRequest* request) {
  const absl::Status authentic = Authenticate(*context);
  if (!authentic.ok()) return Refuse(authentic);
  const std::lock_guard lock(mutex_);
  if (stopped_) return Refuse(absl::UnavailableError("has stopped"));
  const absl::Status checked = state_.CheckWatch(*request);
  if (!checked.ok()) {
    Log::warn("coordinator: {}", checked.ToString());
    return Refuse(checked);
  }
  if (launchers_.size() >= kMaxLaunchers) {
    return Refuse(absl::ResourceExhaustedError(
        absl::StrCat(launchers_.size(), " launchers are here, no more can")));
  }
  const uint64_t id = next_id_++;
  const auto stream = EventStream::Make([this, id] {
    const std::lock_guard lock(mutex_);
    launchers_.erase(id);
  });
  launchers_[id] = stream;
  Event event;
  event.set_generation(state_.generation());
  event.mutable_accepted()->set_coordinator(name_);
  stream->Send(event);
  return stream.get();
}

CoordinatorService::Unary* CoordinatorService::Report(
    Context* context, const ReportRequest* request, ReportReply*) {
  return Answer(context, [&] { return state_.Report(*request, clock_.Now()); });
}

void CoordinatorService::Tick() {
  const std::lock_guard lock(mutex_);
  state_.Tick(clock_.Now());
  Deliver();
}

void CoordinatorService::Stop(absl::string_view sentence) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return;
  stopped_ = true;
  state_.Stop(sentence, clock_.Now());
  Deliver();
  for (const auto& [id, stream] : launchers_) {
    stream->End(ToGrpc(absl::UnavailableError(sentence)));
  }
  changed_.notify_all();
}

absl::Status CoordinatorService::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock,
                [this] { return num_ended_ > num_waited_for_ || stopped_; });
  if (num_ended_ == num_waited_for_) {
    return absl::CancelledError("the coordinator was stopped");
  }
  num_waited_for_ = num_ended_;
  return last_end_;
}

void CoordinatorService::Deliver() {
  for (JobState::Notice& notice : state_.TakeNotices()) {
    switch (notice.kind) {
      case Kind::kStarted:
      case Kind::kFinished: {
        const auto rank = ranks_.find(notice.session);
        if (rank == ranks_.end()) break;  // Its connection is gone.
        if (notice.kind == Kind::kStarted) {
          rank->second->Send(notice.event);
        } else {
          rank->second->End(ToGrpc(notice.status));
          ranks_.erase(rank);
        }
        break;
      }
      case Kind::kAnswer: {
        const auto get = waiting_gets_.find(notice.call);
        if (notice.status.ok()) get->second.reply->set_value(notice.value);
        get->second.reactor->Finish(ToGrpc(notice.status));
        waiting_gets_.erase(get);
        break;
      }
      case Kind::kNews:
        DeliverNews(notice.event);
        break;
    }
  }
}

void CoordinatorService::DeliverNews(const Event& event) {
  if (event.has_started()) {
    Log::info("coordinator: all ranks are here, generation {} begins",
              event.generation());
  } else if (event.has_ended()) {
    Log::info("coordinator: all ranks have left, generation {} ends",
              event.generation());
  } else {
    Log::error("coordinator: generation {} is aborted: {}", event.generation(),
               event.aborted());
  }
  if (!event.has_started()) {
    ++num_ended_;
    last_end_ = event.has_ended() ? absl::OkStatus()
                                  : absl::AbortedError(event.aborted());
    changed_.notify_all();
  }
  for (const auto& [id, stream] : launchers_) stream->Send(event);
}

}  // namespace nextword::rendezvous

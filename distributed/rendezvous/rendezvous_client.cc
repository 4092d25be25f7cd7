#include "distributed/rendezvous/rendezvous_client.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "autograd/base/log.h"
#include "autograd/base/status.h"
#include "distributed/rendezvous/activity.h"
#include "distributed/rendezvous/coordinator_channel.h"
#include "distributed/rendezvous/limits.h"
#include "distributed/rendezvous/local_address.h"
#include "distributed/rendezvous/plain_text.h"

namespace nextword {
namespace {

using rendezvous::CoordinatorChannel;
using rendezvous::Event;
using rendezvous::FailReply;
using rendezvous::FailRequest;
using rendezvous::GetReply;
using rendezvous::GetRequest;
using rendezvous::HeartbeatReply;
using rendezvous::HeartbeatRequest;
using rendezvous::JoinRequest;
using rendezvous::kMaxReasonBytes;
using rendezvous::LeaveReply;
using rendezvous::LeaveRequest;
using rendezvous::PlainDuration;
using rendezvous::PlainText;
using rendezvous::PutReply;
using rendezvous::PutRequest;
using rendezvous::Rendezvous;

constexpr absl::Duration kLogEvery = absl::Seconds(10);

std::chrono::steady_clock::time_point SteadyNow() {
  return std::chrono::steady_clock::now();
}

absl::Duration Since(std::chrono::steady_clock::time_point start) {
  return absl::FromChrono(SteadyNow() - start);
}

JoinRequest RequestOf(const RendezvousClient::Options& options) {
  JoinRequest request;
  request.set_protocol(rendezvous::kProtocol);
  request.set_run_id(options.run_id);
  request.set_world_size(options.world_size);
  request.set_rank(options.rank);
  request.set_host(options.host.empty() ? HostName() : options.host);
  request.set_pid(getpid());
  for (const auto& [name, value] : options.facts) {
    JoinRequest::Fact* fact = request.add_fact();
    fact->set_name(name);
    fact->set_value(value);
  }
  return request;
}

HeartbeatRequest HeartbeatOf(uint64_t session) {
  const Activity activity = CurrentActivity();
  HeartbeatRequest request;
  request.set_session(session);
  request.set_phase(activity.phase);
  request.set_detail(
      activity.detail.substr(0, 2 * rendezvous::kMaxDetailBytes));
  request.set_step(activity.step);
  request.set_waits_for_others(activity.kind == ActivityKind::kWaitsForOthers);
  request.set_seconds(absl::ToDoubleSeconds(absl::Now() - activity.since));
  return request;
}

// One membership. The reader thread follows the stream of events; the heartbeat
// thread tells that this rank lives, and what became of the job.
class GrpcClient : public RendezvousClient {
 public:
  GrpcClient(const Options& options,
             std::shared_ptr<CoordinatorChannel> channel)
      : options_(options),
        channel_(std::move(channel)),
        stub_(channel_->stub()) {
    reader_ = std::thread([this] { FollowEvents(); });
    heart_ = std::thread([this] { SendHeartbeats(); });
  }

  ~GrpcClient() override {
    End(absl::CancelledError("this rank's client is gone"), /*tell=*/false);
    stream_context_.TryCancel();
    reader_.join();
    heart_.join();
  }

  // Returns when the generation has begun, or why it will not.
  absl::Status WaitForStart() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return started_ || ended_; });
    return started_ ? absl::OkStatus() : end_;
  }

  bool accepted() const {
    const std::lock_guard lock(mutex_);
    return session_.has_value();
  }

  int64_t generation() const override {
    const std::lock_guard lock(mutex_);
    return generation_;
  }

  absl::Status status() const override {
    const std::lock_guard lock(mutex_);
    return ended_ ? end_ : absl::OkStatus();
  }

  absl::Status Put(absl::string_view key, absl::string_view value) override {
    PutRequest request;
    request.set_key(std::string(key));
    request.set_value(std::string(value));
    PutReply reply;
    return Call(&Rendezvous::Stub::Put, &request, &reply);
  }

  absl::StatusOr<std::string> Get(absl::string_view key,
                                  absl::Duration timeout) override {
    timeout = std::clamp(timeout, absl::ZeroDuration(), absl::Hours(24 * 30));
    GetRequest request;
    request.set_key(std::string(key));
    request.set_timeout_seconds(absl::ToDoubleSeconds(timeout));
    GetReply reply;
    const absl::Status status =
        Call(&Rendezvous::Stub::Get, &request, &reply, timeout);
    if (absl::IsDeadlineExceeded(status)) {
      return absl::DeadlineExceededError(
          absl::StrCat(status.message(), " within ", PlainDuration(timeout)));
    }
    NW_RETURN_IF_ERROR(status);
    return std::move(*reply.mutable_value());
  }

  absl::Status Leave() override {
    LeaveRequest request;
    LeaveReply reply;
    NW_RETURN_IF_ERROR(Call(&Rendezvous::Stub::Leave, &request, &reply));
    EndInOrder();
    return absl::OkStatus();
  }

  absl::Status Fail(absl::string_view sentence) override {
    {
      const std::lock_guard lock(mutex_);
      quiet_ = true;
    }
    FailRequest request;
    request.set_sentence(PlainText(sentence, kMaxReasonBytes));
    FailReply reply;
    return Call(&Rendezvous::Stub::Fail, &request, &reply);
  }

 private:
  void FollowEvents() {
    channel_->Authorize(&stream_context_);
    const auto stream = stub_->Join(&stream_context_, RequestOf(options_));
    Event event;
    while (stream->Read(&event)) {
      const std::lock_guard lock(mutex_);
      if (event.has_accepted()) {
        session_ = event.accepted().session();
        last_answer_ = SteadyNow();
      } else if (event.has_started()) {
        generation_ = event.generation();
        started_ = true;
      }
      beat_now_ = true;
      changed_.notify_all();
    }
    const grpc::Status status = stream->Finish();
    if (status.ok()) {
      EndInOrder();
    } else {
      End(channel_->Explain(status), /*tell=*/true);
    }
  }

  void SendHeartbeats() {
    const auto interval =
        absl::ToChronoNanoseconds(options_.heartbeat_interval);
    auto said = SteadyNow();
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait_for(lock, interval, [this] { return ended_ || beat_now_; });
      if (ended_) break;
      beat_now_ = false;
      const auto session = session_;
      const bool started = started_;
      lock.unlock();
      std::string waiting_for;
      if (session.has_value()) waiting_for = SendHeartbeat(*session);
      if (!started && !waiting_for.empty() && Since(said) >= kLogEvery) {
        said = SteadyNow();
        Log::info("waiting for the other ranks: {}",
                  PlainText(waiting_for, kMaxReasonBytes));
      }
      lock.lock();
      const bool lost = Since(last_answer_) >= options_.coordinator_timeout;
      if (!lost) continue;
      lock.unlock();
      End(channel_->NoAnswer(), /*tell=*/true);
      stream_context_.TryCancel();
      lock.lock();
    }
    const bool tell = tell_ && started_ && !quiet_;
    const std::string sentence(end_.message());
    lock.unlock();
    if (tell && options_.on_abort) options_.on_abort(sentence);
  }

  // Returns what the coordinator waits for.
  std::string SendHeartbeat(uint64_t session) {
    grpc::ClientContext context;
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return "";
      calls_.insert(&context);
      // A call lasts through a stall of the network, and ends with patience.
      const absl::Duration left =
          std::max(options_.coordinator_timeout - Since(last_answer_),
                   absl::Milliseconds(1));
      context.set_deadline(std::chrono::system_clock::now() +
                           absl::ToChronoMicroseconds(left));
    }
    channel_->Authorize(&context);
    HeartbeatReply reply;
    const grpc::Status status =
        stub_->Heartbeat(&context, HeartbeatOf(session), &reply);
    const std::lock_guard lock(mutex_);
    calls_.erase(&context);
    if (status.ok()) last_answer_ = SteadyNow();
    return status.ok() ? std::move(*reply.mutable_waiting_for()) : "";
  }

  template <typename Request, typename Reply>
  absl::Status Call(grpc::Status (Rendezvous::Stub::*method)(
                        grpc::ClientContext*, const Request&, Reply*),
                    Request* request, Reply* reply,
                    absl::Duration timeout = absl::ZeroDuration()) {
    grpc::ClientContext context;
    channel_->Authorize(&context);
    context.set_deadline(
        std::chrono::system_clock::now() +
        absl::ToChronoMicroseconds(timeout + options_.coordinator_timeout));
    const auto start = SteadyNow();
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return end_;
      request->set_session(session_.value_or(0));
      calls_.insert(&context);
    }
    const grpc::Status status = ((*stub_).*method)(&context, *request, reply);
    const std::lock_guard lock(mutex_);
    calls_.erase(&context);
    if (status.ok()) return absl::OkStatus();
    if (ended_) return end_;
    // The coordinator itself answers earlier.
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED &&
        Since(start) >= timeout + options_.coordinator_timeout) {
      return channel_->NoAnswer();
    }
    return channel_->Explain(status);
  }

  // The first end counts. `tell`: whether on_abort is to hear of it.
  void End(const absl::Status& status, bool tell) {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    end_ = status;
    tell_ = tell;
    for (grpc::ClientContext* call : calls_) call->TryCancel();
    changed_.notify_all();
  }

  // Cancels no call: the answer to Leave may be on its way.
  void EndInOrder() {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    end_ = absl::FailedPreconditionError("this rank has left the job");
    changed_.notify_all();
  }

  const Options options_;
  const std::shared_ptr<CoordinatorChannel> channel_;
  const std::shared_ptr<Rendezvous::Stub> stub_;
  grpc::ClientContext stream_context_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<uint64_t> session_;  // Once accepted.
  int64_t generation_ = 0;
  bool started_ = false;
  bool beat_now_ = false;  // So that it is soon known what this rank does.
  bool ended_ = false;
  absl::Status end_;
  bool tell_ = false;
  bool quiet_ = false;  // This rank has failed and knows it.
  std::chrono::steady_clock::time_point last_answer_ = SteadyNow();
  std::set<grpc::ClientContext*> calls_;

  std::thread reader_, heart_;
};

absl::Status CheckOptions(const RendezvousClient::Options& options) {
  if (options.heartbeat_interval > absl::ZeroDuration() &&
      options.coordinator_timeout > options.heartbeat_interval) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("rendezvous: heartbeat_interval is ",
                   absl::FormatDuration(options.heartbeat_interval),
                   ", wanted more than 0 and less than coordinator_timeout, ",
                   absl::FormatDuration(options.coordinator_timeout)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<RendezvousClient>> RendezvousClient::Join(
    const Options& options) {
  NW_RETURN_IF_ERROR(CheckOptions(options));
  NW_ASSIGN_OR_RETURN(std::shared_ptr<CoordinatorChannel> channel,
                      CoordinatorChannel::Create(
                          {options.address, options.token, options.tls_ca_file,
                           options.coordinator_timeout}));
  const std::atomic<bool> never = false;
  const auto start = SteadyNow();
  while (true) {
    NW_RETURN_IF_ERROR(
        channel->Connect(options.start_timeout - Since(start), never));
    auto client = std::make_unique<GrpcClient>(options, channel);
    const absl::Status status = client->WaitForStart();
    if (status.ok()) return client;
    // One that was lost before it answered may be about to come up.
    if (!absl::IsUnavailable(status) || client->accepted() ||
        Since(start) >= options.start_timeout) {
      return status;
    }
    absl::SleepFor(absl::Milliseconds(100));
  }
}

}  // namespace nextword

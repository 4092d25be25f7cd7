#include "distributed/rendezvous/launcher_client.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"
#include "distributed/rendezvous/coordinator_channel.h"
#include "distributed/rendezvous/limits.h"
#include "distributed/rendezvous/local_address.h"
#include "distributed/rendezvous/plain_text.h"

namespace nextword {
namespace {

using rendezvous::CoordinatorChannel;
using rendezvous::Event;
using rendezvous::ReportReply;
using rendezvous::ReportRequest;
using rendezvous::WatchRequest;

// A coordinator whose process has ended is soon started again.
constexpr absl::Duration kBackSoon = absl::Seconds(2);

class GrpcLauncherClient : public LauncherClient {
 public:
  GrpcLauncherClient(const Options& options,
                     std::unique_ptr<CoordinatorChannel> channel)
      : options_(options), channel_(std::move(channel)) {
    watcher_ = std::thread([this] { KeepWatching(); });
  }

  ~GrpcLauncherClient() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      if (stream_context_ != nullptr) stream_context_->TryCancel();
    }
    changed_.notify_all();
    watcher_.join();
  }

  absl::Status WaitForFirstAnswer() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return first_answer_.has_value(); });
    return *first_answer_;
  }

  absl::Status Report(int rank, absl::string_view sentence,
                      int64_t pid) override {
    ReportRequest request;
    request.set_run_id(options_.run_id);
    request.set_node(options_.node);
    request.set_rank(rank);
    request.set_pid(pid);
    request.set_sentence(
        rendezvous::PlainText(sentence, rendezvous::kMaxReasonBytes));
    {
      const std::lock_guard lock(mutex_);
      request.set_coordinator(coordinator_);
    }
    grpc::ClientContext context;
    channel_->Authorize(&context);
    context.set_deadline(
        std::chrono::system_clock::now() +
        absl::ToChronoMicroseconds(options_.coordinator_timeout));
    ReportReply reply;
    const grpc::Status status =
        channel_->stub()->Report(&context, request, &reply);
    if (status.ok()) return absl::OkStatus();
    return status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED
               ? channel_->NoAnswer()
               : channel_->Explain(status);
  }

  void ExpectNextGeneration() override {
    const std::lock_guard lock(mutex_);
    old_generation_ = generation_;
    goes_on_ = false;
  }

  int64_t generation() const override {
    const std::lock_guard lock(mutex_);
    return generation_;
  }

  bool connected() const override {
    const std::lock_guard lock(mutex_);
    return connected_;
  }

 private:
  // Connects, watches, and connects again, until stopped or refused.
  void KeepWatching() {
    absl::Status status = channel_->Connect(options_.start_timeout, stop_);
    auto lost = std::chrono::steady_clock::now();
    while (status.ok()) {
      status = Watch();
      if (stop_) return;
      const bool was_connected = SetDisconnected();
      // A refusal is final.
      const bool is_final = !absl::IsUnavailable(status);
      if (was_connected) {
        if (is_final || goes_on()) Tell(status);
        lost = std::chrono::steady_clock::now();
      }
      if (is_final) {
        if (was_connected) return;
        break;
      }
      Pause();
      const auto left = [&] {
        return options_.start_timeout -
               absl::FromChrono(std::chrono::steady_clock::now() - lost);
      };
      status = channel_->Connect(std::min(kBackSoon, left()), stop_);
      if (status.ok() || stop_) continue;
      if (options_.on_unreachable) options_.on_unreachable();
      status = channel_->Connect(left(), stop_);
    }
    if (stop_) return;
    if (!Answer(status)) Tell(status);
  }

  // Follows one stream of events to its end, and returns why it ended.
  absl::Status Watch() {
    grpc::ClientContext context;
    channel_->Authorize(&context);
    {
      const std::lock_guard lock(mutex_);
      if (stop_) return absl::CancelledError("stopped");
      stream_context_ = &context;
    }
    WatchRequest request;
    request.set_protocol(rendezvous::kProtocol);
    request.set_run_id(options_.run_id);
    request.set_node(options_.node);
    const auto stream = channel_->stub()->Watch(&context, request);
    Event event;
    while (stream->Read(&event)) Take(event);
    const grpc::Status status = stream->Finish();
    {
      const std::lock_guard lock(mutex_);
      stream_context_ = nullptr;
    }
    return status.ok()
               ? absl::UnavailableError(absl::StrCat(
                     "the coordinator at ", options_.address, " has ended"))
               : channel_->Explain(status);
  }

  void Take(const Event& event) {
    {
      const std::lock_guard lock(mutex_);
      generation_ = event.generation();
      if (event.has_accepted()) {
        OnAccepted(event.accepted().coordinator());
        return;
      }
      if (generation_ <= old_generation_) return;
      goes_on_ = event.has_started();
    }
    if (event.has_aborted()) Tell(absl::AbortedError(event.aborted()));
  }

  // With the mutex held, and generation_ that of the coordinator.
  void OnAccepted(uint64_t coordinator) {
    const bool is_another = coordinator != coordinator_;
    if (is_another && coordinator_ != 0) old_generation_ = 0;
    coordinator_ = coordinator;
    // What began while nobody listened may be of our ranks.
    if (generation_ > old_generation_) goes_on_ = true;
    connected_ = true;
    if (!first_answer_.has_value()) first_answer_ = absl::OkStatus();
    changed_.notify_all();
  }

  bool goes_on() const {
    const std::lock_guard lock(mutex_);
    return goes_on_;
  }

  void Tell(const absl::Status& status) {
    if (options_.on_abort && !stop_) {
      options_.on_abort(std::string(status.message()));
    }
  }

  // Returns whether it was connected.
  bool SetDisconnected() {
    const std::lock_guard lock(mutex_);
    return std::exchange(connected_, false);
  }

  // Makes Connect return `status`. False: it has returned.
  bool Answer(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    if (first_answer_.has_value()) return false;
    first_answer_ = status;
    changed_.notify_all();
    return true;
  }

  void Pause() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(100),
                      [this] { return stop_.load(); });
  }

  const Options options_;
  const std::unique_ptr<CoordinatorChannel> channel_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> stop_ = false;
  grpc::ClientContext* stream_context_ = nullptr;
  std::optional<absl::Status> first_answer_;
  bool connected_ = false;
  uint64_t coordinator_ = 0;  // The one that answered last.
  int64_t generation_ = 0;
  int64_t old_generation_ = 0;  // It and those before are of earlier ranks.
  bool goes_on_ = true;         // A generation, or it is not known.

  std::thread watcher_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LauncherClient>> LauncherClient::Connect(
    const Options& options) {
  Options complete = options;
  if (complete.node.empty()) complete.node = HostName();
  NW_ASSIGN_OR_RETURN(std::unique_ptr<CoordinatorChannel> channel,
                      CoordinatorChannel::Create(
                          {options.address, options.token, options.tls_ca_file,
                           options.coordinator_timeout}));
  auto client =
      std::make_unique<GrpcLauncherClient>(complete, std::move(channel));
  NW_RETURN_IF_ERROR(client->WaitForFirstAnswer());
  return client;
}

}  // namespace nextword

#include "distributed/rendezvous/coordinator_channel.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "autograd/base/file.h"
#include "autograd/base/log.h"
#include "autograd/base/status.h"
#include "distributed/rendezvous/grpc_status.h"
#include "distributed/rendezvous/limits.h"
#include "distributed/rendezvous/plain_text.h"

namespace nextword::rendezvous {
namespace {

constexpr absl::Duration kLogEvery = absl::Seconds(10);

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(
      std::clamp<int64_t>(absl::ToInt64Milliseconds(duration), 1, 1 << 30));
}

grpc::ChannelArguments ArgumentsFor(absl::Duration timeout) {
  grpc::ChannelArguments arguments;
  // A job's machines reach each other directly.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  // Whoever calls decides what to do about a call that failed.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // Also the time that one attempt to connect may take.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  // A connection of its own: several clients may live in one process.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(timeout / 2));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(timeout));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  return arguments;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorChannel>> CoordinatorChannel::Create(
    const Options& options) {
  if (options.address.rfind(':') == std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("the coordinator's address is '", options.address,
                     "', wanted HOST:PORT"));
  }
  if (options.token.empty() || options.token.size() > kMaxTokenBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the job's token has ", options.token.size(),
                     " bytes, wanted 1 to ", kMaxTokenBytes));
  }
  std::shared_ptr<grpc::ChannelCredentials> credentials =
      grpc::InsecureChannelCredentials();
  if (!options.tls_ca_file.empty()) {
    grpc::SslCredentialsOptions ssl;
    NW_ASSIGN_OR_RETURN(ssl.pem_root_certs, ReadFile(options.tls_ca_file));
    credentials = grpc::SslCredentials(ssl);
  }
  return std::unique_ptr<CoordinatorChannel>(
      new CoordinatorChannel(options, std::move(credentials)));
}

CoordinatorChannel::CoordinatorChannel(
    const Options& options,
    std::shared_ptr<grpc::ChannelCredentials> credentials)
    : options_(options), credentials_(std::move(credentials)) {
  Renew();
}

void CoordinatorChannel::Renew() {
  auto channel = grpc::CreateCustomChannel(options_.address, credentials_,
                                           ArgumentsFor(options_.timeout));
  const std::lock_guard lock(mutex_);
  channel_ = std::move(channel);
  stub_ = Rendezvous::NewStub(channel_);
}

std::shared_ptr<Rendezvous::Stub> CoordinatorChannel::stub() const {
  const std::lock_guard lock(mutex_);
  return stub_;
}

void CoordinatorChannel::Authorize(grpc::ClientContext* context) const {
  context->AddMetadata(kTokenKey, options_.token);
}

// gRPC tells only with a call.
std::string CoordinatorChannel::WhyNotConnected() const {
  grpc::ClientContext context;
  Authorize(&context);
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(200));
  HeartbeatReply reply;
  const grpc::Status status =
      stub()->Heartbeat(&context, HeartbeatRequest(), &reply);
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return "connecting takes long";
  }
  return PlainText(status.error_message(), kMaxReasonBytes);
}

absl::Status CoordinatorChannel::Connect(absl::Duration patience,
                                         const std::atomic<bool>& stop) {
  const absl::Time start = absl::Now();
  absl::Time said = start;
  while (!stop) {
    std::shared_ptr<grpc::Channel> channel;
    {
      const std::lock_guard lock(mutex_);
      channel = channel_;
    }
    if (channel->WaitForConnected(std::chrono::system_clock::now() +
                                  std::chrono::milliseconds(100))) {
      return absl::OkStatus();
    }
    const absl::Time now = absl::Now();
    if (now - start >= patience) {
      return absl::UnavailableError(
          absl::StrCat("no coordinator at ", options_.address, " within ",
                       PlainDuration(std::max(patience, absl::ZeroDuration())),
                       ": ", WhyNotConnected()));
    }
    if (now - said >= kLogEvery) {
      said = now;
      Log::info("waiting for the coordinator at {} for {}: {}",
                options_.address, PlainDuration(now - start),
                WhyNotConnected());
      // A new channel looks the name up again, which may not have been known.
      Renew();
    }
  }
  return absl::CancelledError("stopped while connecting to the coordinator");
}

absl::Status CoordinatorChannel::Explain(const grpc::Status& status) const {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::UnavailableError(absl::StrCat(
          "the coordinator at ", options_.address, " is gone (",
          PlainText(status.error_message(), kMaxReasonBytes), ")"));
    default:
      return FromGrpc(status);
  }
}

absl::Status CoordinatorChannel::NoAnswer() const {
  return absl::UnavailableError(
      absl::StrCat("the coordinator at ", options_.address,
                   " has not answered for ", PlainDuration(options_.timeout)));
}

}  // namespace nextword::rendezvous

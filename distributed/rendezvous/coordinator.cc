#include "distributed/rendezvous/coordinator.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "autograd/base/file.h"
#include "autograd/base/log.h"
#include "autograd/base/status.h"
#include "distributed/rendezvous/coordinator_service.h"
#include "distributed/rendezvous/limits.h"
#include "distributed/rendezvous/plain_text.h"
#include "grpcpp/grpcpp.h"

namespace nextword {
namespace {

using rendezvous::CoordinatorService;
using rendezvous::JobState;

absl::Status CheckOptions(const Coordinator::Options& options) {
  const auto refuse = [](const auto&... what) {
    return absl::InvalidArgumentError(absl::StrCat("coordinator: ", what...));
  };
  if (options.world_size < 1 ||
      options.world_size > rendezvous::kMaxWorldSize) {
    return refuse("world_size is ", options.world_size, ", wanted 1 to ",
                  rendezvous::kMaxWorldSize);
  }
  if (options.run_id.empty() ||
      rendezvous::PlainText(options.run_id, rendezvous::kMaxRunIdBytes) !=
          options.run_id) {
    return refuse("the run id has ", options.run_id.size(),
                  " bytes, wanted 1 to ", rendezvous::kMaxRunIdBytes,
                  " of plain text");
  }
  if (options.token.empty() ||
      options.token.size() > rendezvous::kMaxTokenBytes) {
    return refuse("the token has ", options.token.size(),
                  " bytes, wanted 1 to ", rendezvous::kMaxTokenBytes);
  }
  if (options.tls_certificate_file.empty() != options.tls_key_file.empty()) {
    return refuse("TLS wants both a certificate and a key");
  }
  if (options.heartbeat_timeout <= absl::ZeroDuration() ||
      options.start_timeout <= absl::ZeroDuration()) {
    return refuse("timeouts must be greater than zero");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> CredentialsOf(
    const Coordinator::Options& options) {
  if (options.tls_key_file.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
  NW_ASSIGN_OR_RETURN(pair.private_key, ReadFile(options.tls_key_file));
  NW_ASSIGN_OR_RETURN(pair.cert_chain, ReadFile(options.tls_certificate_file));
  grpc::SslServerCredentialsOptions ssl;
  ssl.pem_key_cert_pairs.push_back(std::move(pair));
  return grpc::SslServerCredentials(ssl);
}

// The host of HOST:PORT, with its brackets.
absl::string_view HostOf(absl::string_view address) {
  return address.substr(0, address.rfind(':'));
}

bool IsLoopback(absl::string_view host) {
  return absl::StartsWith(host, "127.") || host == "localhost" ||
         host == "[::1]";
}

JobState::Options StateOptions(const Coordinator::Options& options) {
  JobState::Options state;
  state.world_size = options.world_size;
  state.run_id = options.run_id;
  state.heartbeat_timeout = options.heartbeat_timeout;
  state.start_timeout = options.start_timeout;
  state.phase_deadlines = options.phase_deadlines;
  // So that no session of a coordinator before is taken for one of this.
  std::random_device random;
  state.first_session = (uint64_t{random()} << 32) + random() + 1;
  return state;
}

class GrpcCoordinator : public Coordinator {
 public:
  explicit GrpcCoordinator(const Options& options)
      : service_(StateOptions(options), options.token) {}

  ~GrpcCoordinator() override { Stop(); }

  absl::Status Listen(const Options& options) {
    NW_ASSIGN_OR_RETURN(const auto credentials, CredentialsOf(options));
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(options.listen, credentials, &port);
    builder.RegisterService(&service_);
    builder.SetMaxReceiveMessageSize(rendezvous::kMaxMessageBytes);
    // Two coordinators must not share a port.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 1024);
    // Finds launchers whose machine is gone; ranks are heard anyway.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
    // Clients may ask as often as they like whether it lives.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(
        GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 100);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      return absl::UnavailableError(absl::StrCat(
          "coordinator: cannot listen at ", options.listen,
          options.tls_key_file.empty() ? ""
                                       : " with the certificate and key given",
          "; wanted HOST:PORT of this machine, not in use"));
    }
    const absl::string_view host = HostOf(options.listen);
    address_ = absl::StrCat(host, ":", port);
    if (options.tls_key_file.empty() && !IsLoopback(host)) {
      Log::warn(
          "coordinator: listens at {} without TLS: the token crosses the "
          "network in the clear",
          address_);
    }
    Log::info("coordinator: run {}, {} ranks, listens at {}", options.run_id,
              options.world_size, address_);
    ticker_ = std::thread([this] { KeepTicking(); });
    return absl::OkStatus();
  }

  std::string address() const override { return address_; }

  absl::Status Wait() override { return service_.Wait(); }

  void Stop() override {
    const std::lock_guard stop_lock(stop_mutex_);
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (ticker_.joinable()) ticker_.join();
    service_.Stop("the coordinator was stopped");
    if (server_ == nullptr) return;
    // Lets answers out that are on their way; then cuts off.
    server_->Shutdown(std::chrono::system_clock::now() +
                      std::chrono::seconds(2));
    server_->Wait();
    server_ = nullptr;
  }

 private:
  void KeepTicking() {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, std::chrono::milliseconds(50),
                           [this] { return stopping_; })) {
      service_.Tick();
    }
  }

  CoordinatorService service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;

  std::mutex stop_mutex_;  // One Stop at a time.
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread ticker_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(
    const Options& options) {
  NW_RETURN_IF_ERROR(CheckOptions(options));
  auto coordinator = std::make_unique<GrpcCoordinator>(options);
  NW_RETURN_IF_ERROR(coordinator->Listen(options));
  return coordinator;
}

}  // namespace nextword

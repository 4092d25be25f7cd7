// A client's connection to a coordinator, with the token of its job.
// Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_COORDINATOR_CHANNEL_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_COORDINATOR_CHANNEL_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "distributed/rendezvous/rendezvous.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace nextword::rendezvous {

class CoordinatorChannel {
 public:
  struct Options {
    std::string address;
    std::string token;
    std::string tls_ca_file = {};
    // How long the connection may be dead before that is an error.
    absl::Duration timeout = absl::Seconds(10);
  };

  // Does not connect yet. Errors: no address, no token, no CA file.
  static absl::StatusOr<std::unique_ptr<CoordinatorChannel>> Create(
      const Options& options);

  // Returns once connected, or with UNAVAILABLE after `patience`, or soon after
  // `stop` is true. Every 10 s it says in the log why it waits.
  absl::Status Connect(absl::Duration patience, const std::atomic<bool>& stop);

  std::shared_ptr<Rendezvous::Stub> stub() const;

  // Adds the token.
  void Authorize(grpc::ClientContext* context) const;

  // What to tell a user about a call that failed. An error that gRPC made, not
  // the coordinator, becomes UNAVAILABLE: the coordinator is gone.
  absl::Status Explain(const grpc::Status& status) const;
  // UNAVAILABLE: it has not answered.
  absl::Status NoAnswer() const;

 private:
  CoordinatorChannel(const Options& options,
                     std::shared_ptr<grpc::ChannelCredentials> credentials);

  void Renew();
  std::string WhyNotConnected() const;

  const Options options_;
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;

  mutable std::mutex mutex_;
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<Rendezvous::Stub> stub_;
};

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_COORDINATOR_CHANNEL_H_

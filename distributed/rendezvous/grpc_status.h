// absl::Status over gRPC, whose codes have the same numbers. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_GRPC_STATUS_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_GRPC_STATUS_H_

#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace nextword::rendezvous {

inline grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message()));
}

inline absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      status.error_message());
}

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_GRPC_STATUS_H_

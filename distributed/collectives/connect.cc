#include "distributed/collectives/connect.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "distributed/collectives/gloo_communicator.h"

namespace nextword {
namespace {

std::map<DeviceType, Connector>& Connectors() {
  static auto* const connectors =
      new std::map<DeviceType, Connector>{{DeviceType::kCpu, ConnectByGloo}};
  return *connectors;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> Connect(
    const ConnectOptions& options, KeyValueStore* store) {
  const auto found = Connectors().find(options.device.type);
  if (found == Connectors().end()) {
    return absl::UnimplementedError(absl::StrCat(
        "this build connects no ranks on ", DeviceTypeName(options.device.type),
        "; build with --config=cuda"));
  }
  return found->second(options, store);
}

bool RegisterConnector(DeviceType type, const Connector& connect) {
  Connectors()[type] = connect;
  return true;
}

}  // namespace nextword

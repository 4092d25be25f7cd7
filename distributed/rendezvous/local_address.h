// How other machines reach this one. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_LOCAL_ADDRESS_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_LOCAL_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"

namespace nextword {

// The local IP address, v4 or v6 without brackets, from which packets to
// `address` (HOST:PORT, [V6]:PORT) leave. Sends none. Errors name `address`: it
// is malformed, has no IP address, or there is no route.
absl::StatusOr<std::string> LocalAddressTowards(const std::string& address);

// This machine's name; "localhost" when it has none.
std::string HostName();

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_LOCAL_ADDRESS_H_

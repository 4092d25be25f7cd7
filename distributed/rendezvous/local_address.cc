#include "distributed/rendezvous/local_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "autograd/base/status.h"

namespace nextword {
namespace {

struct HostAndPort {
  std::string host, port;
};

absl::StatusOr<HostAndPort> SplitAddress(absl::string_view address) {
  const size_t colon = address.rfind(':');
  HostAndPort parts;
  if (colon != absl::string_view::npos) {
    absl::string_view host = address.substr(0, colon);
    const bool brackets = absl::StartsWith(host, "[");
    if (brackets && absl::EndsWith(host, "]")) {
      host = host.substr(1, host.size() - 2);
    } else if (brackets || absl::StrContains(host, ":")) {
      host = "";
    }
    parts = {std::string(host), std::string(address.substr(colon + 1))};
  }
  if (parts.host.empty() || parts.port.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("address '", address, "': wanted HOST:PORT"));
  }
  return parts;
}

absl::Status SystemError(const std::string& address, absl::string_view what) {
  return absl::UnavailableError(
      absl::StrCat(address, ": ", what, ": ", std::strerror(errno)));
}

// The local end of a UDP socket that is connected to `peer`: the system chooses
// the route, and no packet is sent.
absl::StatusOr<std::string> LocalEnd(const addrinfo& peer,
                                     const std::string& address) {
  const int fd = socket(peer.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return SystemError(address, "no socket");
  sockaddr_storage local{};
  socklen_t size = sizeof(local);
  auto* const end = reinterpret_cast<sockaddr*>(&local);
  const bool found = connect(fd, peer.ai_addr, peer.ai_addrlen) == 0 &&
                     getsockname(fd, end, &size) == 0;
  const absl::Status error =
      found ? absl::OkStatus() : SystemError(address, "no route");
  close(fd);
  NW_RETURN_IF_ERROR(error);
  std::array<char, NI_MAXHOST> text{};
  const int failed = getnameinfo(end, size, text.data(), text.size(), nullptr,
                                 0, NI_NUMERICHOST);
  if (failed != 0) {
    return absl::UnavailableError(
        absl::StrCat(address, ": ", gai_strerror(failed)));
  }
  return std::string(text.data());
}

}  // namespace

absl::StatusOr<std::string> LocalAddressTowards(const std::string& address) {
  NW_ASSIGN_OR_RETURN(const HostAndPort parts, SplitAddress(address));
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failed =
      getaddrinfo(parts.host.c_str(), parts.port.c_str(), &hints, &found);
  if (failed != 0) {
    return absl::UnavailableError(
        absl::StrCat(address, ": ", gai_strerror(failed)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(found,
                                                                freeaddrinfo);
  absl::StatusOr<std::string> local = absl::UnavailableError("");
  for (const addrinfo* peer = found; peer != nullptr; peer = peer->ai_next) {
    local = LocalEnd(*peer, address);
    if (local.ok()) break;
  }
  return local;
}

std::string HostName() {
  std::array<char, 256> name{};
  // The last byte stays zero, which a name that is cut off would lack.
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') {
    return "localhost";
  }
  return name.data();
}

}  // namespace nextword

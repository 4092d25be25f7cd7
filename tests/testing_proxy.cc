#include "tests/testing_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <map>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/base/check.h"

namespace nextword {
namespace {

sockaddr_in Address(const std::string& host, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  NW_CHECK(inet_pton(AF_INET, host.c_str(), &address.sin_addr) == 1);
  return address;
}

bool WriteAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(sent);
  }
  return true;
}

}  // namespace

int PortOf(const std::string& address) {
  int port = 0;
  NW_CHECK(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
  return port;
}

int ConnectTo(int port, const std::string& host) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  NW_CHECK(fd >= 0) << "socket";
  const sockaddr_in address = Address(host, port);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address),
              sizeof(address)) == 0) {
    return fd;
  }
  close(fd);
  return -1;
}

TestProxy::TestProxy(const std::string& upstream)
    : upstream_port_(PortOf(upstream)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Address("127.0.0.1", 0);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  NW_CHECK(bind(listener_, generic, size) == 0) << "bind";
  NW_CHECK(listen(listener_, 16) == 0) << "listen";
  NW_CHECK(getsockname(listener_, generic, &size) == 0) << "getsockname";
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { PassOn(); });
}

TestProxy::~TestProxy() {
  stop_ = true;
  thread_.join();
  close(listener_);
}

std::string TestProxy::address() const {
  return absl::StrCat("127.0.0.1:", port_);
}

void TestProxy::PassOn() {
  std::map<int, int> peer_of;
  const auto close_pair = [&peer_of](int fd) {
    const int peer = peer_of.at(fd);
    peer_of.erase(fd);
    peer_of.erase(peer);
    close(fd);
    close(peer);
  };
  std::vector<char> buffer(1 << 16);
  while (!stop_) {
    if (stalled_) {
      absl::SleepFor(absl::Milliseconds(5));
      continue;
    }
    while (cut_ && !peer_of.empty()) close_pair(peer_of.begin()->first);
    std::vector<pollfd> ready = {{listener_, POLLIN, 0}};
    for (const auto& [fd, peer] : peer_of) ready.push_back({fd, POLLIN, 0});
    if (poll(ready.data(), ready.size(), 5) <= 0 || stalled_) continue;
    if (ready[0].revents != 0) {
      const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      const int server = cut_ ? -1 : ConnectTo(upstream_port_);
      if (server < 0) {
        close(client);
      } else {
        peer_of[client] = server;
        peer_of[server] = client;
      }
    }
    for (size_t i = 1; i < ready.size(); ++i) {
      const int fd = ready[i].fd;
      if (ready[i].revents == 0 || !peer_of.contains(fd)) continue;
      const ssize_t got = read(fd, buffer.data(), buffer.size());
      if (got <= 0 || !WriteAll(peer_of.at(fd),
                                {buffer.data(), static_cast<size_t>(got)})) {
        close_pair(fd);
      }
    }
  }
  while (!peer_of.empty()) close_pair(peer_of.begin()->first);
}

}  // namespace nextword

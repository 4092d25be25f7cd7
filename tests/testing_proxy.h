// A network for tests that can stall and break: a TCP proxy on the loopback.
#ifndef NEXTWORD_TESTS_TESTING_PROXY_H_
#define NEXTWORD_TESTS_TESTING_PROXY_H_

#include <atomic>
#include <string>
#include <thread>

namespace nextword {

// A thread of its own passes bytes on until it is destroyed. Thread-safe.
class TestProxy {
 public:
  // Aborts when it cannot listen. `upstream` is 127.0.0.1:PORT.
  explicit TestProxy(const std::string& upstream);
  ~TestProxy();

  std::string address() const;

  // While stalled, nothing goes through; connections stay.
  void Stall(bool stalled) { stalled_ = stalled; }

  // Closes all connections, and every new one.
  void Cut() { cut_ = true; }

 private:
  void PassOn();

  const int upstream_port_;
  int listener_;
  int port_;
  std::atomic<bool> stalled_ = false;
  std::atomic<bool> cut_ = false;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// A TCP connection to 127.0.0.1:PORT, or to `host`; -1 when refused.
int ConnectTo(int port, const std::string& host = "127.0.0.1");

// Of HOST:PORT.
int PortOf(const std::string& address);

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_PROXY_H_

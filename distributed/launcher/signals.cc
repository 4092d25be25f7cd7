#include "distributed/launcher/signals.h"

#include <pthread.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"

namespace nextword {

absl::StatusOr<std::unique_ptr<SignalReader>> SignalReader::Create() {
  sigset_t read;
  sigemptyset(&read);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
    struct sigaction action;
    sigaction(signal, nullptr, &action);
    // A blocked signal would be read even so.
    if (action.sa_handler != SIG_IGN) sigaddset(&read, signal);
  }
  // Were it ignored, the system would reap children by itself.
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(SIGCHLD, &standard, nullptr);
  sigaddset(&read, SIGCHLD);
  sigset_t blocked = read;
  sigaddset(&blocked, SIGPIPE);
  sigset_t original;
  errno = pthread_sigmask(SIG_BLOCK, &blocked, &original);
  if (errno != 0) return FileError("signals", "block");
  std::unique_ptr<SignalReader> reader(new SignalReader(original));
  reader->fd_ = signalfd(-1, &read, SFD_CLOEXEC | SFD_NONBLOCK);
  if (reader->fd_ < 0) return FileError("signals", "read");
  return reader;
}

SignalReader::~SignalReader() {
  if (fd_ >= 0) close(fd_);
  pthread_sigmask(SIG_SETMASK, &original_mask_, nullptr);
}

std::optional<int> SignalReader::Next() {
  signalfd_siginfo info;
  ssize_t n;
  do {
    n = read(fd_, &info, sizeof(info));
  } while (n < 0 && errno == EINTR);
  if (n != sizeof(info)) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

std::string DescribeSignal(int signal) {
  const char* const name = sigdescr_np(signal);
  return absl::StrCat("signal ", signal, " (",
                      name == nullptr ? "unknown" : name, ")");
}

std::string DescribeEnd(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    return absl::StrCat("killed by ", DescribeSignal(WTERMSIG(wait_status)));
  }
  return absl::StrCat("exit code ", WEXITSTATUS(wait_status));
}

int ExitCodeOf(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status)
                                  : WEXITSTATUS(wait_status);
}

}  // namespace nextword

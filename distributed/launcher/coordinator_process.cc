#include "distributed/launcher/coordinator_process.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "distributed/launcher/signals.h"

namespace nextword {

CoordinatorProcess::CoordinatorProcess(CommandFunction command,
                                       std::string listen,
                                       const RestartPolicy::Options& restarts,
                                       const sigset_t& mask,
                                       OutputMerger* output)
    : command_(std::move(command)),
      listen_(std::move(listen)),
      restarts_(restarts),
      mask_(mask),
      output_(output) {}

CoordinatorProcess::~CoordinatorProcess() {
  if (!child_.has_value()) return;
  Kill();
  output_->Drain(&*child_);
}

void CoordinatorProcess::Poll(std::vector<pollfd>* polled) const {
  if (control_.is_open() && address_.empty()) {
    polled->push_back({control_.get(), POLLIN, 0});
  }
}

CoordinatorProcess::Event CoordinatorProcess::Update(absl::Time now) {
  if (!child_.has_value()) {
    if (finishing_ || now < start_at_) return Event::kNone;
    started_at_ = now;
    const absl::Status started = Start();
    if (started.ok()) return Event::kNone;
    last_end_ = std::string(started.message());
    return OnEnd(now);
  }
  // First what it said, then that it ended.
  if (address_.empty() && ReadAddress()) return Event::kListens;
  const std::optional<int> status = child_->Reap();
  if (!status.has_value()) return Event::kNone;
  last_end_ = DescribeEnd(*status);
  last_exit_code_ = ExitCodeOf(*status);
  return OnEnd(now);
}

absl::Status CoordinatorProcess::Start() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return FileError("a socket", "open");
  }
  control_ = FileDescriptor(ends[0]);
  const FileDescriptor theirs(ends[1]);
  if (fcntl(control_.get(), F_SETFL, O_NONBLOCK) != 0) {
    return FileError("a socket", "set up");
  }
  NW_ASSIGN_OR_RETURN(
      child_, ChildProcess::Start(command_(listen_), mask_, theirs.get()));
  return output_->Add(&*child_, "[coordinator] ", "");
}

bool CoordinatorProcess::ReadAddress() {
  char block[256];
  const ssize_t n = read(control_.get(), block, sizeof(block));
  if (n > 0) said_.append(block, n);
  const size_t newline = said_.find('\n');
  if (newline == std::string::npos) {
    if (n == 0) control_.Close();  // It is about to end.
    return false;
  }
  address_ = said_.substr(0, newline);
  listen_ = address_;
  return true;
}

CoordinatorProcess::Event CoordinatorProcess::OnEnd(absl::Time now) {
  if (child_.has_value()) output_->Drain(&*child_);
  child_.reset();
  control_.Close();
  said_.clear();
  address_.clear();
  if (finishing_) return Event::kEnded;
  const std::optional<absl::Duration> pause =
      restarts_.AfterFailure(now - started_at_);
  start_at_ = pause.has_value() ? now + *pause : kNever;
  return pause.has_value() ? Event::kDied : Event::kGivenUp;
}

void CoordinatorProcess::Finish(bool wait) {
  finishing_ = true;
  start_at_ = kNever;
  if (!control_.is_open()) return;
  constexpr absl::string_view kDone = "done\n";
  if (wait) send(control_.get(), kDone.data(), kDone.size(), MSG_NOSIGNAL);
  shutdown(control_.get(), SHUT_WR);
}

void CoordinatorProcess::Kill() {
  if (child_.has_value()) child_->Kill();
}

}  // namespace nextword

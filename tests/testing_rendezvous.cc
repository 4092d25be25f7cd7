#include "tests/testing_rendezvous.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "autograd/base/check.h"
#include "autograd/base/status.h"

namespace nextword {

std::unique_ptr<Coordinator> StartCoordinator(int world_size,
                                              Coordinator::Options options) {
  options.world_size = world_size;
  options.run_id = "run";
  options.token = "secret";
  auto coordinator = Coordinator::Start(options);
  NW_CHECK_OK(coordinator.status());
  return *std::move(coordinator);
}

RendezvousClient::Options RankOptions(const std::string& address, int rank,
                                      int world_size) {
  RendezvousClient::Options options;
  options.address = address;
  options.rank = rank;
  options.world_size = world_size;
  options.run_id = "run";
  options.token = "secret";
  options.host = absl::StrCat("node-", rank);
  options.start_timeout = kPatience;
  options.heartbeat_interval = absl::Milliseconds(50);
  return options;
}

LauncherClient::Options LauncherOptions(const std::string& address) {
  LauncherClient::Options options;
  options.address = address;
  options.node = "node-b";
  options.run_id = "run";
  options.token = "secret";
  options.start_timeout = kPatience;
  return options;
}

std::vector<Joined> JoinTogether(
    const std::vector<RendezvousClient::Options>& options) {
  std::vector<Joined> joined(options.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < options.size(); ++i) {
    threads.emplace_back(
        [&, i] { joined[i] = RendezvousClient::Join(options[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  return joined;
}

bool Eventually(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

std::function<void(const std::string&)> Heard::Listener() {
  return [this](const std::string& sentence) {
    const std::lock_guard lock(mutex_);
    sentences_.push_back(sentence);
    more_.notify_all();
  };
}

std::string Heard::Wait(size_t number) {
  std::unique_lock lock(mutex_);
  const bool there =
      more_.wait_for(lock, absl::ToChronoMilliseconds(kPatience),
                     [&] { return sentences_.size() >= number; });
  return there ? sentences_[number - 1] : "";
}

size_t Heard::count() const {
  const std::lock_guard lock(mutex_);
  return sentences_.size();
}

RankProcess::RankProcess(const std::string& address, int rank, int world_size,
                         const std::string& phase, const std::string& detail,
                         int step) {
  std::vector<std::string> arguments = {
      "tests/rendezvous_rank",  address, absl::StrCat(rank),
      absl::StrCat(world_size), phase,   detail,
      absl::StrCat(step)};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_ = fork();
  NW_CHECK(pid_ >= 0) << "fork";
  if (pid_ == 0) {
    execv(argv[0], argv.data());
    _exit(127);
  }
}

RankProcess::~RankProcess() {
  if (pid_ <= 0) return;
  Signal(SIGKILL);
  Wait();
}

void RankProcess::Signal(int signal) { kill(pid_, signal); }

int RankProcess::Wait() {
  int status = 0;
  NW_CHECK_EQ(waitpid(pid_, &status, 0), pid_);
  pid_ = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace nextword

#include "distributed/launcher/supervisor.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "distributed/launcher/monotonic_clock.h"

namespace nextword {
namespace {

// A process in the system's hands (a dead file server, a driver) does not even
// end when it is killed.
constexpr absl::Duration kMaxDying = absl::Seconds(30);

// The coordinator holds a few numbers: it is started again sooner and more
// often than ranks are.
RestartPolicy::Options CoordinatorRestarts(RestartPolicy::Options options) {
  options.max_restarts = std::max(options.max_restarts, 5);
  options.first_pause /= 2;
  options.progress_after /= 10;
  return options;
}

bool EndsTheJob(int signal) { return signal != SIGUSR1; }

}  // namespace

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::Create(
    Options options) {
  if (!options.log_dir.empty()) {
    NW_RETURN_IF_ERROR(MakeDirectories(options.log_dir));
  }
  NW_ASSIGN_OR_RETURN(std::unique_ptr<SignalReader> signals,
                      SignalReader::Create());
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) return FileError("an event", "open");
  return std::unique_ptr<Supervisor>(
      new Supervisor(std::move(options), std::move(signals), wake));
}

Supervisor::Supervisor(Options options, std::unique_ptr<SignalReader> signals,
                       int wake)
    : options_(std::move(options)),
      signals_(std::move(signals)),
      wake_(wake),
      output_(options_.output, options_.errors, [this] { Wake(); }),
      restarts_(options_.restarts) {
  if (options_.coordinator_command == nullptr) return;
  coordinator_ = std::make_unique<CoordinatorProcess>(
      options_.coordinator_command, options_.listen,
      CoordinatorRestarts(options_.restarts), signals_->original_mask(),
      &output_);
}

Supervisor::~Supervisor() { KillRanks(); }

int Supervisor::Run() {
  while (phase_ != Phase::kEnded) {
    Wait();
    while (const std::optional<int> signal = signals_->Next()) {
      if (*signal != SIGCHLD) OnSignal(*signal);
    }
    const absl::Time now = MonotonicNow();
    // A rank's own end before what others say of it.
    ReapRanks(now);
    std::vector<Notice> notices;
    bool unreachable;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      notices.swap(notices_);
      unreachable = std::exchange(coordinator_unreachable_, false);
    }
    for (const Notice& notice : notices) OnNotice(notice, now);
    UpdateCoordinator(now);
    if (unreachable) KillHungCoordinator(now);
    OnTime(now);
  }
  return exit_code_;
}

void Supervisor::Wait() {
  std::vector<pollfd> polled = {{signals_->fd(), POLLIN, 0},
                                {wake_.get(), POLLIN, 0}};
  if (coordinator_ != nullptr) coordinator_->Poll(&polled);
  output_.Poll(&polled);
  const absl::Duration left = NextDeadline() - MonotonicNow();
  const int64_t ms = absl::ToInt64Milliseconds(
      absl::Ceil(std::clamp(left, absl::ZeroDuration(), absl::Hours(1)),
                 absl::Milliseconds(1)));
  if (poll(polled.data(), polled.size(), static_cast<int>(ms)) <= 0) return;
  uint64_t wakes;
  if (polled[1].revents != 0) {
    [[maybe_unused]] const ssize_t n = read(wake_.get(), &wakes, sizeof(wakes));
  }
  output_.Read(polled);
}

absl::Time Supervisor::NextDeadline() const {
  absl::Time next = std::min(attempt_.kill_at, end_by_);
  if (coordinator_ != nullptr) next = std::min(next, coordinator_->due());
  const bool may_start = options_.coordinator_command == nullptr ||
                         !coordinator_->address().empty();
  if (phase_ == Phase::kPausing && may_start) next = std::min(next, start_at_);
  return next;
}

void Supervisor::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(wake_.get(), &one, sizeof(one));
}

void Supervisor::Abort(absl::string_view sentence) {
  const std::lock_guard<std::mutex> lock(mutex_);
  notices_.push_back({std::string(sentence), false});
  Wake();
}

void Supervisor::Fail(absl::string_view sentence) {
  const std::lock_guard<std::mutex> lock(mutex_);
  notices_.push_back({std::string(sentence), true});
  Wake();
}

void Supervisor::CoordinatorIsUnreachable() {
  const std::lock_guard<std::mutex> lock(mutex_);
  coordinator_unreachable_ = true;
  Wake();
}

void Supervisor::Say(absl::string_view line) { output_.Say(line); }

void Supervisor::StartRanks(absl::Time now) {
  const std::string address =
      !options_.coordinator.empty() ? options_.coordinator
      : coordinator_ != nullptr     ? coordinator_->address()
                                    : "";
  phase_ = Phase::kRunning;
  attempt_ = Attempt();
  attempt_.started_at = now;
  if (options_.on_start != nullptr) options_.on_start(address);
  for (int i = 0; i < options_.ranks; ++i) {
    const int rank = options_.first_rank + i;
    absl::StatusOr<ChildProcess> process = ChildProcess::Start(
        options_.command(i, restarted_, address), signals_->original_mask());
    absl::Status status = process.status();
    if (status.ok()) {
      ranks_.push_back({rank, *std::move(process)});
      status = output_.Add(
          &ranks_.back().process,
          options_.world_size > 1 ? absl::StrCat("[rank ", rank, "] ") : "",
          options_.log_dir.empty()
              ? ""
              : absl::StrCat(options_.log_dir, "/", rank, ".log"));
    }
    if (!status.ok()) {
      OnNotice({absl::StrCat("rank ", rank, ": ", status.message()), true},
               now);
      if (ranks_.empty()) OnAttemptEnd(now);
      break;
    }
  }
  restarted_ = true;
}

void Supervisor::OnSignal(int signal) {
  const bool insists = signal == SIGINT || signal == SIGTERM;
  if (insists && (phase_ == Phase::kEnding || attempt_.killed)) {
    if (coordinator_ != nullptr) coordinator_->Kill();
    if (phase_ != Phase::kEnding) exit_code_ = attempt_.exit_code.value_or(137);
    phase_ = Phase::kEnded;
    return;
  }
  const bool again = insists && (stop_signal_.value_or(SIGHUP) != SIGHUP);
  if (!user_signal_.has_value()) user_signal_ = signal;
  if (!stop_signal_.has_value() && EndsTheJob(signal)) stop_signal_ = signal;
  if (again) {
    Say(absl::StrCat("[launcher] ", DescribeSignal(signal),
                     " once more: killing all ranks of this node"));
    KillRanks();
    return;
  }
  for (const Rank& rank : ranks_) rank.process.Signal(signal);
}

void Supervisor::OnNotice(const Notice& notice, absl::Time now) {
  if (notice.final) {
    Say(absl::StrCat("[launcher] ", notice.sentence));
    if (phase_ == Phase::kPausing) return Finish(1, now);
    if (phase_ != Phase::kRunning && phase_ != Phase::kStopping) return;
    if (!attempt_.exit_code.has_value()) attempt_.exit_code = 1;
    attempt_.restart = false;
    for (const Rank& rank : ranks_) rank.process.Signal(SIGTERM);
    return Stop(false, now);
  }
  // Later ones are of an attempt that is over, or of what is known.
  if (phase_ != Phase::kRunning) return;
  Say(absl::StrCat("[launcher] the job was aborted: ", notice.sentence));
  const bool restart = !absl::StrContains(notice.sentence, kNoRestart);
  // Ranks will ask for a restart in vain.
  if (!restart && !attempt_.exit_code.has_value()) attempt_.exit_code = 1;
  Stop(restart, now);
}

void Supervisor::UpdateCoordinator(absl::Time now) {
  if (coordinator_ == nullptr) return;
  for (;;) {
    switch (coordinator_->Update(now)) {
      case CoordinatorProcess::Event::kNone:
      case CoordinatorProcess::Event::kEnded:
        return;
      case CoordinatorProcess::Event::kListens:
        break;
      case CoordinatorProcess::Event::kDied: {
        const std::string sentence =
            absl::StrCat("the coordinator ended: ", coordinator_->last_end());
        // While it hung, ranks gave it up, and those that run now wait for it.
        const bool hung = std::exchange(coordinator_hung_, false);
        if (phase_ == Phase::kRunning && !hung) {
          OnNotice({sentence, false}, now);
        } else {
          Say(absl::StrCat("[launcher] ", sentence,
                           "; it will be started again"));
        }
        break;
      }
      case CoordinatorProcess::Event::kGivenUp:
        OnNotice({absl::StrCat("the coordinator ended too often, last with ",
                               coordinator_->last_end(), "; giving up"),
                  true},
                 now);
        return;
    }
  }
}

void Supervisor::KillHungCoordinator(absl::Time now) {
  if (coordinator_ == nullptr || coordinator_->has_ended()) return;
  if (phase_ == Phase::kEnding || phase_ == Phase::kEnded) return;
  if (now - coordinator_->started_at() < options_.coordinator_start) return;
  Say("[launcher] the coordinator of this node does not answer; killing it");
  coordinator_hung_ = true;
  coordinator_->Kill();
}

void Supervisor::ReapRanks(absl::Time now) {
  for (auto rank = ranks_.begin(); rank != ranks_.end();) {
    const std::optional<int> status = rank->process.Reap();
    if (!status.has_value()) {
      ++rank;
      continue;
    }
    output_.Drain(&rank->process);
    const Rank ended = std::move(*rank);
    rank = ranks_.erase(rank);
    OnRankEnd(ended, *status, now);
  }
  if (ranks_.empty() &&
      (phase_ == Phase::kRunning || phase_ == Phase::kStopping)) {
    OnAttemptEnd(now);
  }
}

void Supervisor::OnRankEnd(const Rank& rank, int wait_status, absl::Time now) {
  const int code = ExitCodeOf(wait_status);
  if (code == 0) return;
  if (!attempt_.exit_code.has_value()) attempt_.exit_code = code;
  if (phase_ != Phase::kRunning || attempt_.killed || code == kStopped) return;
  const bool killed = WIFSIGNALED(wait_status);
  // After a signal of the user, ranks save and end as each of them can. Should
  // one of them leave the others waiting, the coordinator sees it.
  if (user_signal_.has_value() &&
      (!killed || WTERMSIG(wait_status) == *user_signal_ ||
       WTERMSIG(wait_status) == stop_signal_.value_or(0))) {
    return;
  }
  const bool restart = killed || code == kRestartMe;
  const std::string how =
      absl::StrCat(DescribeEnd(wait_status), restart ? "" : kNoRestart);
  std::string others;
  if (!ranks_.empty()) {
    others = absl::StrCat("; stopping the other ranks of this node (",
                          ranks_.size(), ")");
  }
  Say(absl::StrCat("[launcher] rank ", rank.rank, " (pid ", rank.process.pid(),
                   ") ended: ", DescribeEnd(wait_status), others));
  if (options_.on_failure != nullptr) {
    options_.on_failure(rank.rank, rank.process.pid(), how);
  }
  for (const Rank& other : ranks_) other.process.Signal(SIGTERM);
  Stop(restart, now);
}

void Supervisor::Stop(bool first_restart, absl::Time now) {
  if (!attempt_.restart.has_value()) attempt_.restart = first_restart;
  if (phase_ == Phase::kRunning) attempt_.kill_at = now + options_.grace;
  phase_ = Phase::kStopping;
}

void Supervisor::KillRanks() {
  for (const Rank& rank : ranks_) rank.process.Kill();
  attempt_.killed = true;
  attempt_.kill_at = MonotonicNow() + kMaxDying;
}

void Supervisor::OnAttemptEnd(absl::Time now) {
  const int code = attempt_.exit_code.value_or(0);
  attempt_.kill_at = absl::InfiniteFuture();
  attempt_.killed = false;
  if (code == 0) {
    return Finish(stop_signal_.has_value() ? 128 + *stop_signal_ : 0, now);
  }
  if (user_signal_.has_value()) return Finish(code, now);
  // Unless set, ranks failed after the user's signal alone.
  if (!attempt_.restart.value_or(false)) return Finish(code, now);
  const std::optional<absl::Duration> pause =
      restarts_.AfterFailure(now - attempt_.started_at);
  if (!pause.has_value()) {
    if (restarts_.max_restarts() > 0) {
      Say(absl::StrCat("[launcher] giving up after ", restarts_.max_restarts(),
                       " restarts in a row; --max-restarts allows for more"));
    }
    return Finish(code, now);
  }
  Say(absl::StrCat("[launcher] starting again in ",
                   absl::FormatDuration(*pause), ": restart ",
                   restarts_.restarts(), " of ", restarts_.max_restarts()));
  exit_code_ = code;
  phase_ = Phase::kPausing;
  start_at_ = now + *pause;
}

void Supervisor::OnTime(absl::Time now) {
  if (now >= attempt_.kill_at) {
    if (!attempt_.killed) {
      KillRanks();
    } else {
      Say(absl::StrCat("[launcher] rank ", ranks_.front().rank, " (pid ",
                       ranks_.front().process.pid(),
                       ") does not end though it was killed; giving up"));
      Finish(attempt_.exit_code.value_or(128 + SIGKILL), now);
    }
  }
  if (phase_ == Phase::kPausing) {
    if (user_signal_.has_value()) {
      Finish(exit_code_ != 0 ? exit_code_ : 128 + *user_signal_, now);
    } else if (now >= start_at_ &&
               (coordinator_ == nullptr || !coordinator_->address().empty())) {
      StartRanks(now);
    }
  }
  if (phase_ == Phase::kEnding) EndWhenQuiet(now);
}

void Supervisor::Finish(int exit_code, absl::Time now) {
  phase_ = Phase::kEnding;
  attempt_.kill_at = absl::InfiniteFuture();
  exit_code_ = exit_code;
  if (options_.on_end != nullptr) options_.on_end();
  if (coordinator_ == nullptr) return;
  const bool wait = exit_code == 0 && options_.ranks < options_.world_size;
  coordinator_->Finish(wait);
  end_by_ = now + (wait ? options_.last_grace : options_.grace);
}

void Supervisor::EndWhenQuiet(absl::Time now) {
  if (coordinator_ != nullptr && !coordinator_->has_ended()) {
    if (now < end_by_) return;
    coordinator_->Kill();
  }
  end_by_ = absl::InfiniteFuture();
  // Somebody may not take what was said; a signal then ends the wait.
  if (output_.idle()) phase_ = Phase::kEnded;
}

}  // namespace nextword

#include "distributed/launcher/coordinator_link.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "autograd/base/log.h"

namespace nextword {

struct CoordinatorLink::State {
  struct Message {
    int rank;
    pid_t pid;
    std::string how;
  };

  Options options;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Message> messages;  // The first is being sent.
  bool started = false, closed = false, ended = false;
  LauncherClient* connected = nullptr;  // Of the thread.

  // Calls `f` unless it is too late for that.
  template <typename... Arguments>
  void Tell(const std::function<void(Arguments...)>& f,
            const std::type_identity_t<Arguments>&... arguments) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!closed) f(arguments...);
  }

  void Run() {
    Talk();
    const std::lock_guard<std::mutex> lock(mutex);
    ended = true;
    changed.notify_all();
  }

  void Talk() {
    absl::StatusOr<std::unique_ptr<LauncherClient>> client =
        LauncherClient::Connect(options.client);
    if (!client.ok()) {
      return Tell(options.on_error, std::string(client.status().message()));
    }
    std::unique_lock<std::mutex> lock(mutex);
    connected = client->get();
    changed.notify_all();
    for (;;) {
      changed.wait(lock, [&] { return closed || !messages.empty(); });
      if (closed) break;
      const Message message = messages.front();
      lock.unlock();
      const absl::Status status =
          (*client)->Report(message.rank, message.how, message.pid);
      if (!status.ok()) {
        // Its ranks' connections tell the coordinator as much, if less well.
        Log::warn("could not report to the coordinator: {}",
                  std::string(status.message()));
      }
      lock.lock();
      messages.pop_front();
      changed.notify_all();
    }
    connected = nullptr;
    lock.unlock();  // The client's callback may be waiting for it.
    client->reset();
  }
};

CoordinatorLink::CoordinatorLink(Options options)
    : state_(std::make_shared<State>()) {
  state_->options = std::move(options);
  // A weak pointer: the client that calls it belongs to the state's thread.
  state_->options.client.on_abort =
      [state = std::weak_ptr<State>(state_)](const std::string& sentence) {
        const std::shared_ptr<State> s = state.lock();
        if (s != nullptr) s->Tell(s->options.on_abort, sentence);
      };
  state_->options.client.on_unreachable = [state =
                                               std::weak_ptr<State>(state_)] {
    const std::shared_ptr<State> s = state.lock();
    if (s != nullptr) s->Tell(s->options.on_unreachable);
  };
}

CoordinatorLink::~CoordinatorLink() { Close(absl::ZeroDuration()); }

void CoordinatorLink::Start(const std::string& address) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  if (state_->closed) return;
  if (state_->connected != nullptr) state_->connected->ExpectNextGeneration();
  if (state_->started) return;
  state_->started = true;
  state_->options.client.address = address;
  std::thread([state = state_] { state->Run(); }).detach();
}

void CoordinatorLink::Report(int rank, pid_t pid, const std::string& how) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->messages.push_back({rank, pid, how});
  state_->changed.notify_all();
}

void CoordinatorLink::Flush(absl::Duration patience) {
  std::unique_lock<std::mutex> lock(state_->mutex);
  state_->changed.wait_for(lock, absl::ToChronoNanoseconds(patience), [&] {
    return state_->messages.empty() || state_->connected == nullptr;
  });
}

bool CoordinatorLink::Close(absl::Duration patience) {
  std::unique_lock<std::mutex> lock(state_->mutex);
  state_->closed = true;
  state_->changed.notify_all();
  return state_->changed.wait_for(
      lock, absl::ToChronoNanoseconds(patience),
      [&] { return state_->ended || !state_->started; });
}

}  // namespace nextword

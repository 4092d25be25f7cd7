#include "distributed/launcher/output_writer.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "autograd/base/file.h"

namespace nextword {
namespace {

// False: the file takes no more.
bool WriteAll(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n >= 0) {
      text.remove_prefix(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      // Somebody who has the same file open made it so.
      pollfd writable = {fd, POLLOUT, 0};
      poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace

struct OutputWriter::State {
  int fd;
  std::string name;
  std::function<void()> on_room;
  std::function<void(const std::string&)> on_loss;

  mutable std::mutex mutex;
  std::condition_variable changed;
  std::string waiting;
  size_t being_written = 0;
  bool closed = false;

  void Run() {
    bool broken = false;
    std::string block;
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return closed || !waiting.empty(); });
      if (closed) return;
      block.clear();
      block.swap(waiting);
      being_written = block.size();
      lock.unlock();
      const bool written = broken || WriteAll(fd, block);
      const absl::Status error =
          written ? absl::OkStatus() : FileError(name, "write");
      lock.lock();
      being_written = 0;
      if (closed) return;
      on_room();
      if (written) continue;
      broken = true;
      on_loss(std::string(error.message()));
    }
  }
};

OutputWriter::OutputWriter(
    int fd, std::string name, std::function<void()> on_room,
    std::function<void(const std::string& reason)> on_loss)
    : state_(std::make_shared<State>()) {
  state_->fd = fd;
  state_->name = std::move(name);
  state_->on_room = std::move(on_room);
  state_->on_loss = std::move(on_loss);
  std::thread([state = state_] { state->Run(); }).detach();
}

OutputWriter::~OutputWriter() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->closed = true;
  state_->changed.notify_one();
}

void OutputWriter::Append(absl::string_view text) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->waiting.append(text.data(), text.size());
  state_->changed.notify_one();
}

bool OutputWriter::full() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->waiting.size() + state_->being_written > kCapacity;
}

bool OutputWriter::idle() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->waiting.empty() && state_->being_written == 0;
}

}  // namespace nextword

#include "distributed/rendezvous/event_stream.h"

#include <cstddef>
#include <utility>

namespace nextword::rendezvous {
namespace {

constexpr size_t kMaxQueue = 256;

}  // namespace

std::shared_ptr<EventStream> EventStream::Make(
    std::function<void()> on_closed) {
  std::shared_ptr<EventStream> stream(new EventStream(std::move(on_closed)));
  stream->self_ = stream;
  return stream;
}

EventStream::EventStream(std::function<void()> on_closed)
    : on_closed_(std::move(on_closed)) {}

void EventStream::Send(const Event& event) {
  bool full = false;
  {
    const std::lock_guard lock(mutex_);
    if (end_.has_value()) return;
    full = queue_.size() >= kMaxQueue;
    if (!full) {
      queue_.push_back(event);
      if (queue_.size() > 1) return;
    }
  }
  if (full) {
    End(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED,
                     "events were not read"));
    return;
  }
  // Only who made the queue non-empty gets here. Its first element stays in
  // place until OnWriteDone.
  StartWrite(&queue_.front());
}

void EventStream::End(const grpc::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    if (end_.has_value()) return;
    end_ = status;
    if (!queue_.empty()) return;
  }
  Finish(status);
}

void EventStream::OnWriteDone(bool ok) {
  const Event* next = nullptr;
  std::optional<grpc::Status> end;
  {
    const std::lock_guard lock(mutex_);
    queue_.pop_front();
    if (!ok) queue_.clear();
    if (!queue_.empty()) {
      next = &queue_.front();
    } else {
      end = end_;
    }
  }
  if (next != nullptr) {
    StartWrite(next);
  } else if (end.has_value()) {
    Finish(*end);
  }
}

void EventStream::OnCancel() {
  if (on_closed_) on_closed_();
  End(grpc::Status::CANCELLED);
}

void EventStream::OnDone() {
  if (on_closed_) on_closed_();
  const std::shared_ptr<EventStream> last = std::move(self_);
}

}  // namespace nextword::rendezvous

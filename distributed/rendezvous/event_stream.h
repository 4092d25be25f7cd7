// The coordinator's end of a stream of events to a rank or a launcher.
//
// Events wait in a queue while gRPC sends; a peer that does not take them is
// cut off. Keeps itself alive until gRPC is done with it. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_EVENT_STREAM_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_EVENT_STREAM_H_

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "distributed/rendezvous/rendezvous.pb.h"
#include "grpcpp/grpcpp.h"

namespace nextword::rendezvous {

class EventStream : public grpc::ServerWriteReactor<Event> {
 public:
  // `on_closed` is called, from a thread of gRPC, when the peer is gone or the
  // stream has ended; perhaps more than once.
  static std::shared_ptr<EventStream> Make(std::function<void()> on_closed);

  void Send(const Event& event);

  // After what was sent. Later calls have no effect.
  void End(const grpc::Status& status);

 private:
  explicit EventStream(std::function<void()> on_closed);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  const std::function<void()> on_closed_;
  std::shared_ptr<EventStream> self_;

  std::mutex mutex_;
  std::deque<Event> queue_;  // The first is being written, if any.
  std::optional<grpc::Status> end_;
};

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_EVENT_STREAM_H_

// The coordinator's gRPC service: checks tokens, hands requests to the
// JobState, and carries its notices to where they belong. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_COORDINATOR_SERVICE_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_COORDINATOR_SERVICE_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "distributed/rendezvous/awake_clock.h"
#include "distributed/rendezvous/event_stream.h"
#include "distributed/rendezvous/job_state.h"
#include "distributed/rendezvous/rendezvous.grpc.pb.h"

namespace nextword::rendezvous {

// Must outlive the server that it is registered with.
class CoordinatorService : public Rendezvous::CallbackService {
 public:
  CoordinatorService(const JobState::Options& options,
                     const std::string& token);

  // To be called several times a second.
  void Tick();

  // Aborts what goes on with `sentence`, ends all streams and refuses the rest.
  void Stop(absl::string_view sentence);

  // As Coordinator::Wait.
  absl::Status Wait();

 private:
  using Context = grpc::CallbackServerContext;
  using Unary = grpc::ServerUnaryReactor;
  using Stream = grpc::ServerWriteReactor<Event>;

  struct WaitingGet {
    Unary* reactor;
    GetReply* reply;
  };

  Stream* Join(Context* context, const JoinRequest* request) override;
  Unary* Heartbeat(Context* context, const HeartbeatRequest* request,
                   HeartbeatReply* reply) override;
  Unary* Put(Context* context, const PutRequest* request,
             PutReply* reply) override;
  Unary* Get(Context* context, const GetRequest* request,
             GetReply* reply) override;
  Unary* Leave(Context* context, const LeaveRequest* request,
               LeaveReply* reply) override;
  Unary* Fail(Context* context, const FailRequest* request,
              FailReply* reply) override;
  Stream* Watch(Context* context, const WatchRequest* request) override;
  Unary* Report(Context* context, const ReportRequest* request,
                ReportReply* reply) override;

  absl::Status Authenticate(const Context& context) const;

  // Answers with what `act` returns, when the token is right.
  Unary* Answer(Context* context, const std::function<absl::Status()>& act);

  // Ended at once.
  static Stream* Refuse(const absl::Status& status);

  // These are called with the mutex held.
  void Deliver();
  void DeliverNews(const Event& event);

  const std::string token_;
  const uint64_t name_;  // No other coordinator's.
  AwakeClock clock_;

  // Held while events are queued, so that each stream gets them in order.
  std::mutex mutex_;
  JobState state_;
  std::map<uint64_t, std::shared_ptr<EventStream>> ranks_;  // By session.
  std::map<uint64_t, std::shared_ptr<EventStream>> launchers_;
  std::map<uint64_t, WaitingGet> waiting_gets_;  // By call.
  uint64_t next_id_ = 1;                         // Of calls and launchers.
  bool stopped_ = false;

  std::condition_variable changed_;
  int64_t num_ended_ = 0;
  int64_t num_waited_for_ = 0;
  absl::Status last_end_;
};

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_COORDINATOR_SERVICE_H_

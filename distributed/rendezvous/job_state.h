// The rules of a rendezvous, without network, threads or clock: who is here,
// when a generation begins and ends, who is to blame when it is aborted.
//
// Calls take the messages as a peer sent them, whatever is in them, and the
// time, which need not be a real one. What they cause is taken as notices.
// Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_JOB_STATE_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_JOB_STATE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "distributed/rendezvous/abort_sentence.h"
#include "distributed/rendezvous/member.h"
#include "distributed/rendezvous/phase_deadlines.h"
#include "distributed/rendezvous/rendezvous.pb.h"
#include "distributed/rendezvous/value_store.h"

namespace nextword::rendezvous {

class JobState {
 public:
  struct Options {
    int world_size = 1;
    std::string run_id;
    absl::Duration heartbeat_timeout = absl::Seconds(10);
    absl::Duration start_timeout = absl::Minutes(10);
    PhaseDeadlines phase_deadlines = {};
    // Between the first sign that a rank ended and the verdict: a better reason
    // may come, or the sign of one that the first rank only suffered from.
    absl::Duration verdict_delay = absl::Milliseconds(500);
    uint64_t first_session = 1;  // No other coordinator's, which it names.
  };

  struct Notice {
    enum class Kind {
      kStarted,   // To `session`: `event`, all ranks are here.
      kFinished,  // To `session`: its membership is over, as `status` says.
      kAnswer,    // To the Get made as `call`: `status` or `value`.
      kNews,      // To launchers: `event`.
    };
    Kind kind;
    uint64_t session = 0;
    uint64_t call = 0;
    absl::Status status = absl::OkStatus();
    std::string value = {};
    Event event = {};
  };

  explicit JobState(const Options& options);

  // A rank asks to join; returns its session. Errors refuse this rank only.
  absl::StatusOr<uint64_t> Join(const JoinRequest& request, absl::Time now);

  // The connection of a session closed, for whatever reason.
  void Close(uint64_t session, absl::Time now);

  absl::StatusOr<HeartbeatReply> Heartbeat(const HeartbeatRequest& request,
                                           absl::Time now);
  absl::Status Put(const PutRequest& request);
  // Is answered by a notice, at once or later. `call` names it.
  void Get(uint64_t call, const GetRequest& request, absl::Time now);
  absl::Status Leave(const LeaveRequest& request, absl::Time now);
  absl::Status Fail(const FailRequest& request, absl::Time now);

  // A launcher asks to hear the news.
  absl::Status CheckWatch(const WatchRequest& request) const;
  absl::Status Report(const ReportRequest& request, absl::Time now);

  // Looks at what only time brings. To be called often.
  void Tick(absl::Time now);

  // Aborts whatever goes on with `sentence`.
  void Stop(absl::string_view sentence, absl::Time now);

  // What happened since the last call, in order.
  std::vector<Notice> TakeNotices();

  // Of the running generation, else of the last.
  int64_t generation() const { return generation_; }
  bool running() const { return running_; }

 private:
  absl::Status CheckJoin(const JoinRequest& request) const;
  // A member of the running generation that is here; the error says why not.
  absl::StatusOr<Member*> FindRunning(uint64_t session);
  Member* Find(Members& members, uint64_t session);

  void DropSilentArrivals(absl::Time now);
  void EraseArrival(int rank);
  void StartIfComplete(absl::Time now);
  void FailArrivals(const absl::Status& status);
  const std::string& WaitingFor();

  void EndIfAllLeft(absl::Time now);
  void Abort(absl::string_view sentence, absl::Time now);
  void EndGeneration(const absl::Status& status, absl::Time now);

  void Judge(absl::Time now);
  void CheckSilence(absl::Time now);
  void CheckDeadlines(absl::Time now);

  void ReportArrival(const ReportRequest& request);

  void Finish(const Member& member, const absl::Status& status);
  Event& TellLaunchers();

  const Options options_;
  uint64_t next_session_;
  int64_t generation_ = 0;
  bool running_ = false;
  absl::Time started_;         // The running generation.
  absl::Time arrivals_since_;  // From when the start timeout counts.

  Members members_;                  // Of the running generation.
  Members arrivals_;                 // Of the next.
  std::map<uint64_t, int> rank_of_;  // Of both, by session.
  // How sessions of the last end ended, for calls that come late.
  std::map<uint64_t, absl::Status> over_;
  // Processes of members before, by rank.
  std::map<int, int64_t> last_pids_;

  std::string waiting_for_;  // Empty: to be made anew.

  ValueStore values_;
  std::vector<Notice> notices_;
};

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_JOB_STATE_H_

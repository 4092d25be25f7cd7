// A job for tests: a JobState with a clock of the test's own, ranks at
// "node-RANK" with pid 100 + RANK, and what the state tells them.
#ifndef NEXTWORD_TESTS_TESTING_JOB_H_
#define NEXTWORD_TESTS_TESTING_JOB_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "distributed/rendezvous/job_state.h"

namespace nextword::rendezvous {

// Not thread-safe.
class TestJob {
 public:
  // Of run "run".
  explicit TestJob(int world_size, JobState::Options options = {});

  JobState& state() { return *state_; }
  absl::Time now() const { return now_; }

  JoinRequest Request(int rank) const;
  absl::Status Join(const JoinRequest& request);
  absl::Status Join(int rank) { return Join(Request(rank)); }
  absl::Status JoinAll();

  absl::StatusOr<HeartbeatReply> Beat(int rank, const std::string& phase = "",
                                      const std::string& detail = "",
                                      int64_t step = -1, bool waits = false,
                                      double seconds = 0);

  // What `rank` does from now on, and says while time passes.
  void Do(int rank, const std::string& phase, const std::string& detail = "",
          int64_t step = -1, bool waits = false);

  // Time passes in small steps, during which all that do something give signs
  // of life, but for those that are `silent`.
  void Pass(absl::Duration duration, const std::vector<int>& silent = {});

  void Close(int rank);
  absl::Status Leave(int rank);
  absl::Status Fail(int rank, const std::string& sentence);
  // `coordinator`: the one that the launcher knows, by its first session.
  absl::Status Report(int rank, const std::string& sentence, int64_t pid = 0,
                      uint64_t coordinator = 0);
  absl::Status Put(int rank, const std::string& key, const std::string& value);
  void Get(uint64_t call, int rank, const std::string& key, double seconds);

  bool Started(int rank) const { return started_.contains(sessions_.at(rank)); }
  // How the membership of `rank` ended; "" while it lasts.
  std::string EndOf(int rank) const;
  // The value or the error; "" when there is no answer yet.
  std::string AnswerTo(uint64_t call) const;
  // What launchers heard: "2 started", "2 aborted: ...".
  const std::vector<std::string>& news() const { return news_; }
  std::string LastNews() const { return news_.empty() ? "" : news_.back(); }

 private:
  void Take();

  const int world_size_;
  std::unique_ptr<JobState> state_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  std::map<int, uint64_t> sessions_;
  std::map<int, HeartbeatRequest> doing_;
  std::map<uint64_t, int64_t> started_;
  std::map<uint64_t, absl::Status> ends_;
  std::map<uint64_t, std::string> answers_;
  std::vector<std::string> news_;
};

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_TESTS_TESTING_JOB_H_

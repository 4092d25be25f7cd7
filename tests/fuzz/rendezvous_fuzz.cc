#include "tests/fuzz/rendezvous_fuzz.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/check.h"
#include "distributed/rendezvous/job_state.h"
#include "distributed/rendezvous/limits.h"
#include "distributed/rendezvous/plain_text.h"

namespace nextword::rendezvous {
namespace {

// The input, from front to back; zeros when it is used up.
class Bytes {
 public:
  explicit Bytes(absl::string_view bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }
  uint8_t Byte() {
    if (bytes_.empty()) return 0;
    const uint8_t byte = static_cast<uint8_t>(bytes_[0]);
    bytes_.remove_prefix(1);
    return byte;
  }
  // Below `limit`.
  int Number(int limit) { return Byte() % limit; }
  double Double() {
    char bits[sizeof(double)];
    for (char& bit : bits) bit = static_cast<char>(Byte());
    double value;
    std::memcpy(&value, bits, sizeof(value));
    return value;
  }
  std::string Text() {
    const size_t wanted = Byte();
    const size_t size = std::min(wanted, bytes_.size());
    const std::string text(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return text;
  }

 private:
  absl::string_view bytes_;
};

bool IsPlain(absl::string_view text) {
  return PlainText(text, kMaxSentenceBytes) == text;
}

class Driver {
 public:
  explicit Driver(absl::string_view input)
      : bytes_(input),
        world_size_(1 + bytes_.Number(5)),
        state_(OptionsFor(world_size_)) {}

  FuzzCounts Run() {
    while (!bytes_.empty()) {
      ++counts_.operations;
      Step();
      Take();
    }
    // However it stands, time ends everything that waits.
    for (int i = 0; i < 3; ++i) {
      now_ += absl::Hours(24 * 365);
      state_.Tick(now_);
      Take();
    }
    NW_CHECK(open_calls_.empty()) << open_calls_.size() << " unanswered calls";
    NW_CHECK(!state_.running());
    NW_CHECK(here_.empty()) << here_.size() << " forgotten members";
    return counts_;
  }

 private:
  static JobState::Options OptionsFor(int world_size) {
    JobState::Options options;
    options.world_size = world_size;
    options.run_id = "run";
    options.phase_deadlines.by_phase["slow"] = absl::Seconds(3);
    return options;
  }

  void Step() {
    switch (bytes_.Number(16)) {
      case 0:
      case 1:
        Join(GoodJoin(bytes_.Number(world_size_)));
        break;
      case 2:
        for (int rank = 0; rank < world_size_; ++rank) Join(GoodJoin(rank));
        break;
      case 3:
        Join(Any<JoinRequest>());
        break;
      case 4:
        Heartbeat();
        break;
      case 5: {
        auto request = Any<PutRequest>();
        request.set_session(Session());
        if (bytes_.Number(2) == 0) request.set_key("key");
        state_.Put(request).IgnoreError();
        break;
      }
      case 6:
      case 7:
        Get();
        break;
      case 8:
        Close(Session());
        break;
      case 9: {
        auto request = Any<LeaveRequest>();
        request.set_session(Session());
        state_.Leave(request, now_).IgnoreError();
        break;
      }
      case 10: {
        for (const uint64_t session : std::set<uint64_t>(here_)) {
          LeaveRequest request;
          request.set_session(session);
          state_.Leave(request, now_).IgnoreError();
        }
        break;
      }
      case 11: {
        auto request = Any<FailRequest>();
        if (bytes_.Number(2) == 0) request.set_session(Session());
        state_.Fail(request, now_).IgnoreError();
        break;
      }
      case 12:
        Report();
        break;
      case 13:
        state_.CheckWatch(Any<WatchRequest>()).IgnoreError();
        break;
      case 14:
        if (bytes_.Number(16) == 0) {
          state_.Stop(bytes_.Text(), now_);
        } else {
          ShareValues();
        }
        break;
      case 15:
        now_ += absl::Milliseconds(bytes_.Byte() * 10);
        state_.Tick(now_);
        break;
    }
  }

  // A message out of any bytes, such as a peer may send.
  template <typename Message>
  Message Any() {
    Message message;
    // What was read before an error stays, which is as good as anything.
    static_cast<void>(message.ParsePartialFromString(bytes_.Text()));
    return message;
  }

  JoinRequest GoodJoin(int rank) {
    JoinRequest request;
    request.set_protocol(kProtocol);
    request.set_run_id("run");
    request.set_world_size(world_size_);
    request.set_rank(rank);
    request.set_host("node");
    request.set_pid(next_pid_++);
    if (bytes_.Number(64) == 1) {
      JoinRequest::Fact* fact = request.add_fact();
      fact->set_name("fact");
      fact->set_value(bytes_.Text());
    }
    return request;
  }

  void Join(const JoinRequest& request) {
    const auto session = state_.Join(request, now_);
    if (session.ok()) {
      NW_CHECK(here_.insert(*session).second);
      sessions_.push_back(*session);
    } else {
      ++counts_.refused;
    }
    Take();
  }

  void Heartbeat() {
    auto request = Any<HeartbeatRequest>();
    request.set_session(Session());
    if (bytes_.Number(8) == 0) request.set_phase("slow");
    if (bytes_.Number(2) == 0) request.set_seconds(bytes_.Double());
    const auto reply = state_.Heartbeat(request, now_);
    if (reply.ok()) NW_CHECK(IsPlain(reply->waiting_for()));
  }

  void Get() {
    auto request = Any<GetRequest>();
    request.set_session(Session());
    if (bytes_.Number(2) == 0) request.set_key("key");
    if (bytes_.Number(2) == 0) request.set_timeout_seconds(bytes_.Double());
    const uint64_t call = next_call_++;
    open_calls_.insert(call);
    state_.Get(call, request, now_);
  }

  // As ranks do that behave.
  void ShareValues() {
    for (const uint64_t session : here_) {
      PutRequest put;
      put.set_session(session);
      put.set_key("key");
      state_.Put(put).IgnoreError();
      GetRequest get;
      get.set_session(session);
      get.set_key("key");
      open_calls_.insert(next_call_);
      state_.Get(next_call_++, get, now_);
    }
  }

  void Report() {
    auto request = Any<ReportRequest>();
    if (bytes_.Number(2) == 0) {
      request.set_run_id("run");
      request.set_rank(bytes_.Number(world_size_));
    }
    state_.Report(request, now_).IgnoreError();
  }

  void Close(uint64_t session) {
    state_.Close(session, now_);
    here_.erase(session);
  }

  // Mostly one that there was lately.
  uint64_t Session() {
    const size_t back = 1 + bytes_.Number(8);
    if (back > sessions_.size()) return bytes_.Byte();
    return sessions_[sessions_.size() - back];
  }

  void Take() {
    using Kind = JobState::Notice::Kind;
    for (const JobState::Notice& notice : state_.TakeNotices()) {
      NW_CHECK(notice.status.message().size() <= kMaxSentenceBytes);
      switch (notice.kind) {
        case Kind::kStarted:
          NW_CHECK(started_.insert(notice.session).second) << "started twice";
          break;
        case Kind::kFinished:
          NW_CHECK(IsPlain(notice.status.message()));
          // Whose connection is closed is no longer here, and not told.
          NW_CHECK(here_.erase(notice.session) == 1) << "told after its end";
          break;
        case Kind::kAnswer:
          NW_CHECK(open_calls_.erase(notice.call) == 1) << "answered twice";
          ++(notice.status.ok() ? counts_.values : counts_.missed);
          break;
        case Kind::kNews:
          NW_CHECK(IsPlain(notice.event.aborted()));
          NW_CHECK(notice.event.generation() >= generation_);
          generation_ = notice.event.generation();
          ++(notice.event.has_started() ? counts_.started
             : notice.event.has_ended() ? counts_.ended
                                        : counts_.aborted);
          break;
      }
    }
  }

  Bytes bytes_;
  const int world_size_;
  JobState state_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  int64_t next_pid_ = 100;
  uint64_t next_call_ = 1;
  int64_t generation_ = 0;
  std::vector<uint64_t> sessions_;
  std::set<uint64_t> here_;
  std::set<uint64_t> started_;
  std::set<uint64_t> open_calls_;
  FuzzCounts counts_;
};

}  // namespace

FuzzCounts DriveRendezvous(absl::string_view input) {
  return Driver(input).Run();
}

}  // namespace nextword::rendezvous

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nextword::rendezvous::DriveRendezvous(
      {reinterpret_cast<const char*>(data), size});
  return 0;
}

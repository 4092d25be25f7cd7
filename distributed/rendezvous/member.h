// A rank as its coordinator knows it, from Join to its end. A value.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_MEMBER_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_MEMBER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace nextword::rendezvous {

struct Member {
  // What it last said that it does.
  struct Doing {
    std::string phase;  // Empty: unnamed.
    std::string detail;
    int64_t step = -1;
    bool waits_for_others = false;
    absl::Duration duration;  // At the time of saying so.

    bool operator==(const Doing& other) const {
      return phase == other.phase && detail == other.detail &&
             step == other.step && waits_for_others == other.waits_for_others;
    }
  };
  enum class Presence { kHere, kLeft, kGone };

  uint64_t session = 0;
  int rank = 0;
  std::string host;
  int64_t pid = 0;
  std::map<std::string, std::string> facts = {};

  Presence presence = Presence::kHere;
  absl::Time last_sign;  // Of life.
  Doing doing = {};

  // What is wrong with it: its own word, its launcher's. `trouble_since` is the
  // first of these or when it was gone; infinite when all is well.
  std::optional<std::string> failure = {};
  std::optional<std::string> report = {};
  absl::Time trouble_since = absl::InfiniteFuture();
};

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_MEMBER_H_

// What the ranks of one generation tell each other: values by key, and calls
// that wait for a key. Bounded (limits.h). Not thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_RENDEZVOUS_VALUE_STORE_H_
#define NEXTWORD_DISTRIBUTED_RENDEZVOUS_VALUE_STORE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace nextword::rendezvous {

class ValueStore {
 public:
  // To the Get that was made as `call`.
  struct Answer {
    uint64_t call;
    absl::StatusOr<std::string> value;
  };

  // Errors: a key or value that is too long, no room.
  absl::Status Put(const std::string& key, const std::string& value);

  // Is answered now or later; by `deadline` with DEADLINE_EXCEEDED.
  void Get(uint64_t call, const std::string& key, absl::Time deadline);

  // Answers what has waited too long.
  void Tick(absl::Time now);

  // Forgets all values; who waits gets `status`.
  void Clear(const absl::Status& status);

  // Those that came since the last call.
  std::vector<Answer> TakeAnswers();

 private:
  struct Waiting {
    uint64_t call;
    absl::Time deadline;
  };

  std::map<std::string, std::string> values_;
  std::map<std::string, std::vector<Waiting>> waiting_;
  size_t num_waiting_ = 0;
  size_t num_bytes_ = 0;
  std::vector<Answer> answers_;
};

}  // namespace nextword::rendezvous

#endif  // NEXTWORD_DISTRIBUTED_RENDEZVOUS_VALUE_STORE_H_

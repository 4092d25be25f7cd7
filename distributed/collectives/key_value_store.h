// Where ranks leave notes for each other before they can speak directly.
#ifndef NEXTWORD_DISTRIBUTED_COLLECTIVES_KEY_VALUE_STORE_H_
#define NEXTWORD_DISTRIBUTED_COLLECTIVES_KEY_VALUE_STORE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace nextword {

// Shared by all ranks; each key is put once. Thread-safe.
class KeyValueStore {
 public:
  virtual ~KeyValueStore() = default;
  virtual absl::Status Put(const std::string& key,
                           const std::string& value) = 0;
  // Waits until the key is there. Error: it was not within `timeout`.
  virtual absl::StatusOr<std::string> Get(const std::string& key,
                                          absl::Duration timeout) = 0;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COLLECTIVES_KEY_VALUE_STORE_H_

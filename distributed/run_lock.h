// One trainer per run: two would mix their metrics and checkpoints.
#ifndef NEXTWORD_DISTRIBUTED_RUN_LOCK_H_
#define NEXTWORD_DISTRIBUTED_RUN_LOCK_H_

#include <string>

#include "absl/status/statusor.h"

namespace nextword {

// Held until it is destroyed or the process ends, however it ends. Move-only.
class RunLock {
 public:
  // Locks the folder `run_dir`, which exists. Error: another process has it.
  static absl::StatusOr<RunLock> Acquire(const std::string& run_dir);

  RunLock(RunLock&& other) noexcept;
  RunLock& operator=(RunLock&&) = delete;
  ~RunLock();

 private:
  explicit RunLock(int fd) : fd_(fd) {}

  int fd_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_RUN_LOCK_H_

#include "distributed/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"

namespace nextword {

absl::StatusOr<RunLock> RunLock::Acquire(const std::string& run_dir) {
  const int fd = open(run_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return FileError(run_dir, "open");
  RunLock lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return FileError(run_dir, "lock");
  return absl::FailedPreconditionError(absl::StrCat(
      run_dir,
      ": another process is training in this run_dir; wait for it, or "
      "give another run_dir"));
}

RunLock::RunLock(RunLock&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)) {}

RunLock::~RunLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace nextword

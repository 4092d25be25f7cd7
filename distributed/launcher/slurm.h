// What Slurm tells a process about its job. Thread-safe.
#ifndef NEXTWORD_DISTRIBUTED_LAUNCHER_SLURM_H_
#define NEXTWORD_DISTRIBUTED_LAUNCHER_SLURM_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nextword {

// The first host of a list as Slurm writes them: "node7" of "node7",
// "node[7-9,12]" and "node7,login1"; numbers keep their zeros in front. Error,
// without the variable's name: the list cannot be read.
absl::StatusOr<std::string> FirstHost(absl::string_view list);

// A port for the job of this number, the same on all its nodes, and most likely
// another one than that of a job beside it. Below those that Linux gives to
// whoever asks for any port.
inline int JobPort(int64_t job_id) {
  return static_cast<int>(20000 + job_id % 12000);
}

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_LAUNCHER_SLURM_H_

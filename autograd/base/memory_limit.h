// How much memory a process may use where a control group limits it, as in
// containers and jobs of clusters.
#ifndef NEXTWORD_AUTOGRAD_BASE_MEMORY_LIMIT_H_
#define NEXTWORD_AUTOGRAD_BASE_MEMORY_LIMIT_H_

#include <cstdint>
#include <optional>
#include <string>

namespace nextword {

// Bytes, the least that the control groups of this process allow, its own and
// those around it (version 2's memory.max or version 1's limit_in_bytes); none
// where they do not limit it. `groups` lists the process's groups as
// /proc/self/cgroup does, `root` is where they are mounted.
std::optional<int64_t> MemoryLimit(
    const std::string& groups = "/proc/self/cgroup",
    const std::string& root = "/sys/fs/cgroup");

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_BASE_MEMORY_LIMIT_H_

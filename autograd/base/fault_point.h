// Fault points: the system calls that write, remove and read files, where tests
// make them fail or the process die. A product has no hook: then it costs one
// load of a pointer. Thread-safe.
#ifndef NEXTWORD_AUTOGRAD_BASE_FAULT_POINT_H_
#define NEXTWORD_AUTOGRAD_BASE_FAULT_POINT_H_

#include <atomic>
#include <cerrno>
#include <string>

namespace nextword {

// Called before a call: "create", "write", "sync", "close", "rename", "unlink",
// "mkdir", "truncate", "open" or "read" of `path`. Returns the errno that it is
// to fail with instead, 0 for none; or does not return.
using FaultHook = int (*)(const char* operation, const std::string& path);

namespace internal {
inline std::atomic<FaultHook> fault_hook{nullptr};
}  // namespace internal

inline void SetFaultHook(FaultHook hook) { internal::fault_hook = hook; }

inline bool HasFaultHook() {
  return internal::fault_hook.load(std::memory_order_relaxed) != nullptr;
}

// Whether the call that would follow is to fail, with errno set.
inline bool FaultAt(const char* operation, const std::string& path) {
  const FaultHook hook = internal::fault_hook.load(std::memory_order_relaxed);
  if (hook == nullptr) return false;
  const int error = hook(operation, path);
  if (error == 0) return false;
  errno = error;
  return true;
}

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_BASE_FAULT_POINT_H_

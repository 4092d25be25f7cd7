#include "tests/testing_faults.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <mutex>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "autograd/base/check.h"
#include "autograd/base/fault_point.h"

namespace nextword {
namespace {

constexpr int kUnsyncedExitCode = 99;

struct State {
  std::mutex mutex;
  Fault fault;
  int seen = 0;
  // Of files with writes that were not synced: the size that was.
  std::map<std::string, int64_t> unsynced;
};

State& TheState() {
  static auto* const state = new State;
  return *state;
}

// The file that this thread is syncing, or was until its next call.
thread_local std::string syncing;

int64_t SizeOf(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

// Notes what a call does to files; false when it publishes what may be lost.
bool Follow(State& state, absl::string_view operation,
            const std::string& path) {
  // An earlier sync was done if this thread goes on.
  if (!syncing.empty()) state.unsynced.erase(syncing);
  syncing.clear();
  if (operation == "sync") syncing = path;
  if (operation == "create") state.unsynced.emplace(path, 0);
  if (operation == "write") state.unsynced.emplace(path, SizeOf(path));
  if (operation == "unlink") state.unsynced.erase(path);
  if (operation != "rename") return true;
  // Of a folder, what is in it; of a file, what its temporary name has.
  const auto first = state.unsynced.lower_bound(path);
  return first == state.unsynced.end() ||
         !(absl::StartsWith(first->first, path + "/") ||
           absl::StartsWith(first->first, path + ".tmp"));
}

void CutPower(const State& state) {
  for (const auto& [path, size] : state.unsynced) {
    if (truncate(path.c_str(), size) != 0) continue;  // Is gone.
  }
}

int Hook(const char* operation, const std::string& path) {
  State& state = TheState();
  const std::lock_guard lock(state.mutex);
  if (!absl::StartsWith(path, state.fault.path)) return 0;
  if (!Follow(state, operation, path)) _exit(kUnsyncedExitCode);
  if (++state.seen != state.fault.at) return 0;
  switch (state.fault.kind) {
    case Fault::Kind::kNone:
      return 0;
    case Fault::Kind::kError:
      syncing.clear();
      return EIO;
    case Fault::Kind::kPowerCut:
      CutPower(state);
      [[fallthrough]];
    case Fault::Kind::kKill:
      kill(getpid(), SIGKILL);
      pause();
  }
  return 0;
}

}  // namespace

void SetFault(const Fault& fault) {
  TheState().fault = fault;
  TheState().seen = 0;
  SetFaultHook(Hook);
}

int FaultPointsSeen() {
  const std::lock_guard lock(TheState().mutex);
  return TheState().seen;
}

int StartProcess(const std::function<int()>& body) {
  const pid_t child = fork();
  NW_CHECK(child >= 0) << "fork";
  if (child > 0) return child;
  const int nowhere = open("/dev/null", O_RDWR);
  dup2(nowhere, STDOUT_FILENO);
  dup2(nowhere, STDERR_FILENO);
  _exit(body());
}

int WaitForProcess(int process) {
  int status = 0;
  while (waitpid(process, &status, 0) < 0) {
    NW_CHECK(errno == EINTR) << "waitpid";
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int InProcess(const std::function<int()>& body) {
  return WaitForProcess(StartProcess(body));
}

}  // namespace nextword

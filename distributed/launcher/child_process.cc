#include "distributed/launcher/child_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "autograd/base/file.h"
#include "autograd/base/status.h"

namespace nextword {
namespace {

struct Pipe {
  FileDescriptor read, write;
};

absl::StatusOr<Pipe> OpenPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return FileError("a pipe", "open");
  return Pipe{FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

// All that the child needs, made before there is one.
struct Preparation {
  const char* path;
  char* const* arguments;
  char* const* environment;
  const sigset_t* mask;
  pid_t parent;
  int input, output, errors, given, failure;
};

// Becomes the program. In the child, which has the one thread of a process that
// may have many: nothing here may take a lock or memory.
[[noreturn]] void Execute(const Preparation& p) {
  const auto fail = [&] {
    const int error = errno;
    [[maybe_unused]] const ssize_t n = write(p.failure, &error, sizeof(error));
    _exit(127);
  };
  setpgid(0, 0);
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail();
  // Had the parent died before, the signal would never come.
  if (getppid() != p.parent) _exit(127);
  if (dup2(p.input, STDIN_FILENO) < 0 || dup2(p.output, STDOUT_FILENO) < 0 ||
      dup2(p.errors, STDERR_FILENO) < 0) {
    fail();
  }
  // What somebody has opened without close-on-exec; older kernels lack this.
  syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
  if (p.given >= 0) {
    // The other way round when it has that number already.
    const int done = p.given == ChildProcess::kGivenDescriptor
                         ? fcntl(p.given, F_SETFD, 0)
                         : dup2(p.given, ChildProcess::kGivenDescriptor);
    if (done < 0) fail();
  }
  // Or the end of one rank would end, by its connections, all others, before
  // they can say whose end it was.
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignore, nullptr);
  sigprocmask(SIG_SETMASK, p.mask, nullptr);
  execve(p.path, p.arguments, p.environment);
  fail();
  _exit(127);
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& s : strings) pointers.push_back(s.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::StatusOr<ChildProcess> ChildProcess::Start(const ChildCommand& command,
                                                 const sigset_t& mask,
                                                 int given) {
  NW_ASSIGN_OR_RETURN(Pipe output, OpenPipe());
  NW_ASSIGN_OR_RETURN(Pipe errors, OpenPipe());
  NW_ASSIGN_OR_RETURN(Pipe failure, OpenPipe());
  // A dup2 to 3 must not close the pipe that failures are told through.
  if (failure.write.get() == kGivenDescriptor) {
    failure.write = FileDescriptor(
        fcntl(failure.write.get(), F_DUPFD_CLOEXEC, kGivenDescriptor + 1));
  }
  const FileDescriptor input(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!input.is_open()) return FileError("/dev/null", "open");
  for (const Pipe* pipe : {&output, &errors}) {
    if (fcntl(pipe->read.get(), F_SETFL, O_NONBLOCK) != 0) {
      return FileError("a pipe", "set up");
    }
  }
  std::vector<std::string> arguments = command.arguments;
  std::vector<std::string> variables = VariableList(command.environment);
  const std::vector<char*> argv = Pointers(arguments);
  const std::vector<char*> envp = Pointers(variables);
  const Preparation preparation = {command.path.c_str(),
                                   argv.data(),
                                   envp.data(),
                                   &mask,
                                   getpid(),
                                   input.get(),
                                   output.write.get(),
                                   errors.write.get(),
                                   given,
                                   failure.write.get()};
  // Unlike fork, runs no library's handlers in the child.
  const pid_t pid = _Fork();
  if (pid < 0) return FileError(command.path, "start");
  if (pid == 0) Execute(preparation);
  failure.write.Close();
  int error = 0;
  ssize_t n;
  do {
    n = read(failure.read.get(), &error, sizeof(error));  // Waits for execve.
  } while (n < 0 && errno == EINTR);
  if (n > 0) {
    waitpid(pid, nullptr, 0);
    errno = error;
    return FileError(command.path, "start");
  }
  ChildProcess child;
  child.pid_ = pid;
  child.output_ = std::move(output.read);
  child.errors_ = std::move(errors.read);
  return child;
}

void ChildProcess::Signal(int signal) const {
  if (!ended_) kill(pid_, signal);
}

void ChildProcess::Kill() const {
  // Its number is its own until it is reaped, and so is its group's.
  if (ended_) return;
  kill(-pid_, SIGKILL);
  kill(pid_, SIGKILL);
}

std::optional<int> ChildProcess::Reap() {
  siginfo_t info = {};
  if (ended_ || waitid(P_PID, pid_, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
      info.si_pid != pid_) {
    return std::nullopt;
  }
  // While it is not reaped, its number is nobody else's.
  kill(-pid_, SIGKILL);
  int status;
  if (waitpid(pid_, &status, 0) != pid_) return std::nullopt;
  ended_ = true;
  return status;
}

}  // namespace nextword

#include "tests/testing_process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/base/check.h"
#include "autograd/base/file.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

void Redirect(int stream, const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags, 0644);
  if (fd < 0 || dup2(fd, stream) < 0) _exit(126);
}

// Becomes the program. In the child; does not return.
[[noreturn]] void Execute(const std::vector<std::string>& arguments,
                          const std::string& output, const std::string& errors,
                          int64_t max_file_bytes) {
  Redirect(STDIN_FILENO, "/dev/null", O_RDONLY);
  Redirect(STDOUT_FILENO, output, O_WRONLY | O_CREAT | O_TRUNC);
  Redirect(STDERR_FILENO, errors, O_WRONLY | O_CREAT | O_TRUNC);
  if (max_file_bytes > 0) {
    // A write beyond the limit then fails instead of ending the program.
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {static_cast<rlim_t>(max_file_bytes), RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  std::vector<char*> argv;
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  std::perror(argv[0]);
  _exit(127);
}

// Waits for its end, and sends the signal when kill_at appears in `errors`.
int Wait(pid_t child, const std::string& errors,
         const ProcessOptions& options) {
  int status = 0;
  bool sent = options.kill_at.empty();
  while (waitpid(child, &status, sent ? 0 : WNOHANG) == 0) {
    const auto said = ReadFile(errors);
    sent = said.ok() && absl::StrContains(*said, options.kill_at);
    if (sent) kill(child, options.signal);
    absl::SleepFor(absl::Milliseconds(2));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Outcome RunProcess(const std::vector<std::string>& arguments,
                   const ProcessOptions& options) {
  const std::string folder = FreshDirectory("process");
  const std::string errors = folder + "/errors";
  const std::string output =
      options.output_path.empty() ? folder + "/output" : options.output_path;
  const absl::Time start = absl::Now();
  const pid_t child = fork();
  NW_CHECK(child >= 0) << "fork";
  if (child == 0) Execute(arguments, output, errors, options.max_file_bytes);
  Outcome outcome;
  outcome.exit_code = Wait(child, errors, options);
  outcome.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  outcome.errors = *ReadFile(errors);
  if (options.output_path.empty()) outcome.output = *ReadFile(output);
  return outcome;
}

}  // namespace nextword

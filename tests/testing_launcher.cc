#include "tests/testing_launcher.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/base/file.h"
#include "distributed/launcher/child_process.h"
#include "distributed/launcher/monotonic_clock.h"
#include "distributed/launcher/signals.h"
#include "tests/testing_text.h"

namespace nextword {

void LauncherTest::SetUp() {
  folder_ = FreshDirectory(absl::StrCat(
      "launcher_",
      testing::UnitTest::GetInstance()->current_test_info()->name()));
  // Ranks that lose their launcher become children of this process.
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
}

void LauncherTest::TearDown() {
  for (;;) {
    std::ifstream children("/proc/thread-self/children");
    pid_t child;
    if (!(children >> child)) return;
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
}

std::string LauncherTest::Path(const std::string& name) const {
  return absl::StrCat(folder_, "/", name);
}

std::string LauncherTest::Contents(const std::string& name) const {
  const auto contents = ReadFile(Path(name));
  return contents.ok() ? *contents : "";
}

std::vector<std::string> LauncherTest::Lines(const std::string& name) const {
  return absl::StrSplit(Contents(name), '\n', absl::SkipEmpty());
}

LauncherTest::Options LauncherTest::Scripts(
    const std::vector<std::string>& scripts) const {
  Options options;
  options.ranks = static_cast<int>(scripts.size());
  options.world_size = options.ranks;
  options.grace = absl::Milliseconds(300);
  options.restarts.max_restarts = 0;
  options.restarts.first_pause = absl::Milliseconds(20);
  options.command = [scripts, folder = folder_](
                        int local_rank, bool restarted,
                        const std::string& coordinator) {
    return ChildCommand{"/bin/sh",
                        {"sh", "-c", "cd \"$D\"; " + scripts[local_rank]},
                        {{"D", folder},
                         {"N", absl::StrCat(local_rank)},
                         {"PATH", "/usr/bin:/bin"},
                         {"RESTARTED", restarted ? "yes" : "no"},
                         {"COORDINATOR", coordinator}}};
  };
  return options;
}

LauncherTest::Options LauncherTest::Same(int ranks,
                                         const std::string& script) const {
  return Scripts(std::vector<std::string>(ranks, script));
}

CoordinatorProcess::CommandFunction LauncherTest::Coordinator(
    const std::string& script) const {
  return [script, folder = folder_](const std::string& listen) {
    return ChildCommand{
        "/bin/sh",
        {"sh", "-c", "cd \"$D\"; " + script},
        {{"D", folder}, {"PATH", "/usr/bin:/bin"}, {"LISTEN", listen}}};
  };
}

void LauncherTest::OnceUp(int ranks, std::function<void()> f) const {
  std::thread([this, ranks, f = std::move(f)] {
    for (int i = 0; i < ranks; ++i) {
      while (access(Path(absl::StrCat("up", i)).c_str(), F_OK) != 0) {
        absl::SleepFor(absl::Milliseconds(5));
      }
    }
    f();
  }).detach();
}

void LauncherTest::AbortOnceUp(Supervisor* supervisor, int ranks,
                               const std::string& sentence) const {
  OnceUp(ranks, [this, supervisor, sentence] {
    supervisor->Abort(sentence);
    WriteTestFile(Path("aborted"), "");
  });
}

void LauncherTest::Start(Options options,
                         const std::function<void(Options*)>& prepare,
                         const std::function<void(Supervisor*)>& created) {
  launcher_ = fork();
  ASSERT_GE(launcher_, 0);
  if (launcher_ > 0) return;
  constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
  if (options.output == 1) {
    options.output = open(Path("output").c_str(), kFlags, 0644);
  }
  if (options.errors == 2) {
    options.errors = open(Path("errors").c_str(), kFlags, 0644);
  }
  if (prepare != nullptr) prepare(&options);
  auto supervisor = Supervisor::Create(std::move(options));
  if (!supervisor.ok()) _exit(99);
  if (created != nullptr) created(supervisor->get());
  _exit((*supervisor)->Run());
}

int LauncherTest::Wait() {
  int status = 0;
  const pid_t launcher = std::exchange(launcher_, 0);
  EXPECT_EQ(waitpid(launcher, &status, 0), launcher);
  return ExitCodeOf(status);
}

int LauncherTest::Run(Options options) {
  Start(std::move(options));
  return Wait();
}

void LauncherTest::WaitFor(const std::string& name,
                           const std::vector<std::string>& lines) {
  const absl::Time until = MonotonicNow() + absl::Seconds(9);
  for (const std::string& line : lines) {
    while (!absl::StrContains(Contents(name), line + "\n")) {
      ASSERT_LT(MonotonicNow(), until)
          << name << " lacks " << line << ", has " << Contents(name);
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
}

}  // namespace nextword

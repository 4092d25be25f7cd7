// A launcher's supervisor in tests, with shell scripts for ranks.
#ifndef NEXTWORD_TESTS_TESTING_LAUNCHER_H_
#define NEXTWORD_TESTS_TESTING_LAUNCHER_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "distributed/launcher/coordinator_process.h"
#include "distributed/launcher/supervisor.h"
#include "gtest/gtest.h"

namespace nextword {

// One at a time, in a process of its own, since it takes that one's signals.
class LauncherTest : public testing::Test {
 protected:
  using Options = Supervisor::Options;

  void SetUp() override;
  void TearDown() override;  // No process is left.

  // A file in this test's folder, its contents ("" if there is none), and its
  // lines.
  std::string Path(const std::string& name) const;
  std::string Contents(const std::string& name) const;
  std::vector<std::string> Lines(const std::string& name) const;

  // As many ranks as `scripts`, each of which sees its number in this node as
  // $N, whether it is a restart as $RESTARTED, and this test's folder as its
  // own.
  Options Scripts(const std::vector<std::string>& scripts) const;
  Options Same(int ranks, const std::string& script) const;

  // A script for a coordinator, which sees where it is to listen as $LISTEN.
  CoordinatorProcess::CommandFunction Coordinator(
      const std::string& script) const;

  // In the launcher's process: calls `f` when files up0, up1, ... of that many
  // ranks are there; aborts the job then, and says so by a file "aborted".
  void OnceUp(int ranks, std::function<void()> f) const;
  void AbortOnceUp(Supervisor* supervisor, int ranks,
                   const std::string& sentence) const;

  // Starts a launcher; its output and errors go to files of these names unless
  // `options` has other descriptors. `prepare` and `created` are called in its
  // process.
  void Start(Options options,
             const std::function<void(Options*)>& prepare = nullptr,
             const std::function<void(Supervisor*)>& created = nullptr);

  // Its exit code, 128 + the number of the signal that ended it.
  int Wait();
  int Run(Options options);

  // Waits until a file has these lines, in any order and among others.
  void WaitFor(const std::string& name, const std::vector<std::string>& lines);

  pid_t launcher_ = 0;

 private:
  std::string folder_;
};

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_LAUNCHER_H_

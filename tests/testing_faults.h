// Faults at the calls to the system that touch a folder: the process dies, the
// power goes, or a call fails. For processes of tests' own; thread-safe.
#ifndef NEXTWORD_TESTS_TESTING_FAULTS_H_
#define NEXTWORD_TESTS_TESTING_FAULTS_H_

#include <functional>
#include <string>

namespace nextword {

struct Fault {
  enum class Kind {
    kNone,
    kKill,      // SIGKILL, to this process.
    kPowerCut,  // The same, and what was not synced is lost.
    kError,     // EIO of that call alone.
  };
  Kind kind = Kind::kNone;
  int at = 0;             // At the call of this number, from 1.
  std::string path = {};  // Of those whose paths begin so.
};

// From now on, in this process. When a file or a folder is renamed that has
// something in it that was not synced, the process ends with exit code 99.
void SetFault(const Fault& fault);

// Calls so far.
int FaultPointsSeen();

// Runs `body` in a process of its own, silently, and returns its exit code, or
// 128 + the number of the signal that ended it. This process has no threads.
int InProcess(const std::function<int()>& body);

// The process's number, and its end.
int StartProcess(const std::function<int()>& body);
int WaitForProcess(int process);

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_FAULTS_H_

// Programs run from tests as a user runs them.
#ifndef NEXTWORD_TESTS_TESTING_PROCESS_H_
#define NEXTWORD_TESTS_TESTING_PROCESS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace nextword {

struct ProcessOptions {
  // Largest file that it may write, in bytes; 0 for no limit. Stands for a disk
  // that fills up.
  int64_t max_file_bytes = 0;
  // Where standard output goes instead of into Outcome: "/dev/full".
  std::string output_path = {};
  // Sends it the signal when this text is in what it has said on standard
  // error; empty for never.
  std::string kill_at = {};
  int signal = 9;  // That it is killed with.
};

struct Outcome {
  int exit_code;  // 128 + the signal's number when a signal ended it.
  std::string output, errors;
  double seconds;
};

// Runs `arguments`, the program's path first, to its end. Aborts when that is
// impossible.
Outcome RunProcess(const std::vector<std::string>& arguments,
                   const ProcessOptions& options = {});

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_PROCESS_H_

// The nextword binary in tests: run as its users run it, on a small model and a
// small text in a folder of the test's own. Not thread-safe.
#ifndef NEXTWORD_TESTS_TESTING_CLI_H_
#define NEXTWORD_TESTS_TESTING_CLI_H_

#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing_process.h"

namespace nextword {

using Arguments = std::vector<std::string>;

// Runs the binary with `arguments`, the subcommand first.
Outcome Nextword(Arguments arguments, const ProcessOptions& options = {});

// A folder with config.textproto and text.txt.
class CliTest : public testing::Test {
 protected:
  void SetUp() override;

  // Of a file in the test's folder; "" is the folder itself.
  std::string Path(const std::string& name) const;

  // `nextword train` with the config, data in cache/ and, unless overridden,
  // the run in run/.
  Arguments Train(const Arguments& overrides = {},
                  const Arguments& more = {}) const;

  // The override that trains on text.txt.
  std::string Text() const { return "data.source=" + Path("text.txt"); }

  // Overrides for training on token files.
  Arguments Tokens(const std::string& tokens,
                   const std::string& tokenizer) const;

  // A trained run/, with token files in cache/.
  void TrainOnce() const;

  // In a checkpoint of `run`, a folder's name.
  std::string CheckpointFile(const std::string& run, int step,
                             const std::string& name) const;

  // Every file below the test's folder, with a hash of its bytes.
  std::set<std::string> Files() const;

  // The command fails with these words, and leaves all files as they were.
  void ExpectRefusal(const Arguments& arguments,
                     const std::vector<std::string>& words,
                     const ProcessOptions& options = {}) const;

  // Flips a bit in the middle of a file.
  void Damage(const std::string& path) const;

 private:
  std::string folder_;
};

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_CLI_H_

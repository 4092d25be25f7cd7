// Whole training runs in tests: a small text, a config with everything that a
// run can do, and comparisons of runs. Not thread-safe.
#ifndef NEXTWORD_TESTS_TESTING_TRAINING_H_
#define NEXTWORD_TESTS_TESTING_TRAINING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "configs/train_config.pb.h"
#include "distributed/trainer.h"
#include "gtest/gtest.h"

namespace nextword {

// In a folder of the test's own, with runs in it.
class TrainingTest : public testing::Test {
 protected:
  static constexpr int kSteps = 12;

  void SetUp() override;
  void TearDown() override;

  std::string Path(const std::string& name) const;

  // That of the run `name`, with overrides as on the command line.
  TrainConfig Config(const std::string& name,
                     const std::vector<std::string>& overrides = {}) const;

  // Of a run's checkpoints.
  std::vector<int64_t> Steps(const std::string& name) const;

  // Starts or resumes a run and trains to its end, which is to be `end`.
  static absl::Status Run(const TrainConfig& config,
                          const std::string& resume = "none",
                          Trainer::End end = Trainer::End::kDone);

  // The same with `ranks` ranks.
  static void RunInWorld(int ranks, const TrainConfig& config,
                         const std::string& resume = "none",
                         Trainer::End end = Trainer::End::kDone);

  static Tensor FinalWeights(const TrainConfig& config);

  // What is on the disk when the run `from` is killed between the checkpoint of
  // `step` and the next one: that checkpoint and those before it, and metrics
  // that have gone on.
  void KillAfter(int step, const std::string& from, const std::string& to);

  // All files of the run `from`.
  void CopyRun(const std::string& from, const std::string& to) const;

  // A run's metrics but for its speed.
  std::vector<std::string> Metrics(const std::string& name) const;

  std::string CheckpointFile(const std::string& run, int step,
                             const std::string& file) const;

  // Same weights and moments, in every byte, at the last step; same metrics.
  void ExpectSameRun(const std::string& a, const std::string& b) const;

 private:
  std::string folder_;
};

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_TRAINING_H_

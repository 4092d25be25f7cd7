// Learners of small models on made-up data, for tests of single steps.
#ifndef NEXTWORD_TESTS_TESTING_LEARNER_H_
#define NEXTWORD_TESTS_TESTING_LEARNER_H_

#include <memory>
#include <vector>

#include "configs/train_config.pb.h"
#include "distributed/learner.h"

namespace nextword {

// Tokens of a sequence.
inline constexpr int64_t kLearnerLength = 24;

// 50 steps of two lanes with two sequences each.
TrainConfig ConfigOf(const ModelConfig& model, DeviceKind device);

// On its own.
std::unique_ptr<Learner> NewLearner(const TrainConfig& config);
std::unique_ptr<Learner> NewLearner(const ModelConfig& model,
                                    DeviceKind device);

// The next step, on sequences that can be learnt: each id follows from the one
// before it.
Learner::StepResult Step(Learner* learner);

// The losses of the next `steps` steps.
std::vector<double> Train(int steps, Learner* learner);

// What a checkpoint holds goes from one learner to another.
void Continue(const Learner& from, Learner* to);

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_LEARNER_H_

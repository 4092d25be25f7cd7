// Learning rates at the edges of their schedules and between.
#include "optim/schedule.h"

#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"

namespace nextword {
namespace {

constexpr int64_t kSteps = 110;

ScheduleConfig Config(ScheduleKind kind, int64_t warmup = 10,
                      double final_ratio = 0.2) {
  ScheduleConfig config;
  config.set_kind(kind);
  config.set_warmup_steps(warmup);
  config.set_final_ratio(final_ratio);
  if (kind == WARMUP_STABLE_DECAY) config.set_decay_steps(40);
  return config;
}

constexpr ScheduleKind kKinds[] = {CONSTANT, LINEAR, COSINE,
                                   WARMUP_STABLE_DECAY};

double Factor(const ScheduleConfig& config, int64_t step) {
  return LearningRateFactor(config, kSteps, step);
}

TEST(ScheduleTest, WarmUpRisesLinearlyToThePeak) {
  for (const ScheduleKind kind : kKinds) {
    for (int step = 0; step < 10; ++step) {
      EXPECT_DOUBLE_EQ(Factor(Config(kind), step), (step + 1) / 10.0);
    }
    EXPECT_DOUBLE_EQ(Factor(Config(kind), 10), 1);
    EXPECT_DOUBLE_EQ(Factor(Config(kind, 0), 0), 1) << "without warm-up";
    EXPECT_DOUBLE_EQ(Factor(Config(kind, 1), 0), 1);
  }
}

TEST(ScheduleTest, ValuesBetweenAndAtTheEnd) {
  struct {
    ScheduleKind kind;
    double quarter, half, three_quarters, end;
  } const cases[] = {
      {CONSTANT, 1, 1, 1, 1},
      {LINEAR, 0.8, 0.6, 0.4, 0.2},
      {COSINE, 0.6 + 0.4 * std::sqrt(0.5), 0.6, 0.6 - 0.4 * std::sqrt(0.5),
       0.2},
      // The last 40 of 100 steps after the warm-up.
      {WARMUP_STABLE_DECAY, 1, 1, 1 - 0.8 * 15 / 40, 0.2},
  };
  for (const auto& c : cases) {
    const ScheduleConfig config = Config(c.kind);
    EXPECT_NEAR(Factor(config, 35), c.quarter, 1e-15);
    EXPECT_NEAR(Factor(config, 60), c.half, 1e-15);
    EXPECT_NEAR(Factor(config, 85), c.three_quarters, 1e-15);
    EXPECT_NEAR(Factor(config, kSteps), c.end, 1e-15);
    EXPECT_NEAR(Factor(config, 10 * kSteps), c.end, 1e-15) << "stays there";
  }
}

TEST(ScheduleTest, StableUntilTheDecay) {
  const ScheduleConfig config = Config(WARMUP_STABLE_DECAY);
  for (int64_t step = 10; step <= 70; ++step) {
    EXPECT_EQ(Factor(config, step), 1) << step;
  }
  EXPECT_LT(Factor(config, 71), 1);
  ScheduleConfig no_decay = config;
  no_decay.set_decay_steps(0);
  EXPECT_EQ(Factor(no_decay, kSteps - 1), 1);
}

TEST(ScheduleTest, NeverRisesAfterWarmUpNorLeavesItsRange) {
  for (const ScheduleKind kind : kKinds) {
    for (const double final_ratio : {0.0, 0.2, 1.0}) {
      const ScheduleConfig config = Config(kind, 10, final_ratio);
      for (int64_t step = 10; step < kSteps; ++step) {
        const double factor = Factor(config, step);
        EXPECT_LE(factor, 1);
        EXPECT_GE(factor, final_ratio);
        EXPECT_LE(Factor(config, step + 1), factor);
      }
    }
  }
}

TEST(ScheduleTest, NothingButWarmUp) {
  for (const ScheduleKind kind : {CONSTANT, LINEAR, COSINE}) {
    const ScheduleConfig config = Config(kind, kSteps);
    EXPECT_DOUBLE_EQ(Factor(config, kSteps - 1), 1);
  }
}

}  // namespace
}  // namespace nextword

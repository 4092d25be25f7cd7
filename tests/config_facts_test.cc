// The facts by which ranks compare their configs.
#include "distributed/config_facts.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "distributed/rendezvous/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

using ::testing::Contains;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

TEST(ConfigFacts, NameEachFieldByItsPath) {
  TrainConfig config;
  config.mutable_model()->set_layers(3);
  config.mutable_data()->add_source("a b.txt");
  config.mutable_data()->add_source("c.txt");
  const auto facts = ConfigFacts(config);
  EXPECT_THAT(facts, Contains(Pair("config field model.layers", "3")));
  EXPECT_THAT(facts, Contains(Pair("config field data.source",
                                   "\"a b.txt\" \"c.txt\"")));
  EXPECT_THAT(facts, Contains(Pair("config field optimizer.kind", "ADAMW")));
}

TEST(ConfigFacts, DoNotDependOnWhetherADefaultIsWritten) {
  TrainConfig written;
  written.set_seed(1);
  written.mutable_evaluation();
  EXPECT_EQ(ConfigFacts(written), ConfigFacts(TrainConfig()));
  written.set_seed(2);
  EXPECT_NE(ConfigFacts(written), ConfigFacts(TrainConfig()));
}

TEST(ConfigFacts, LeaveOutWhatMachinesMayHaveOfTheirOwn) {
  TrainConfig config;
  config.set_threads(3);
  EXPECT_THAT(ConfigFacts(config), Not(Contains(Key("config field threads"))));
  EXPECT_EQ(ConfigFacts(config), ConfigFacts(TrainConfig()));
}

TEST(ConfigFacts, AreSmallEnoughForTheCoordinator) {
  TrainConfig config;
  for (int i = 0; i < 1000; ++i) {
    config.mutable_data()->add_source(absl::StrCat("folder/", i, ".txt"));
  }
  const auto facts = ConfigFacts(config);
  // Of which other parts of the program have a few, too.
  EXPECT_LT(facts.size(), rendezvous::kMaxFacts / 2);
  for (const auto& [name, value] : facts) {
    EXPECT_LT(name.size(), rendezvous::kMaxFactNameBytes);
    EXPECT_LT(value.size(), rendezvous::kMaxFactValueBytes);
  }
  config.mutable_data()->set_source(700, "folder/other.txt");
  EXPECT_NE(ConfigFacts(config), facts);
}

}  // namespace
}  // namespace nextword

// What a process makes of its environment.
#include "distributed/place.h"

#include <map>
#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

using Variables = std::map<std::string, std::string>;

absl::StatusOr<Place> PlaceOf(const Variables& variables) {
  return PlaceFrom([&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  });
}

// As torchrun has it.
Variables Rank3Of8() {
  return {{"RANK", "3"},          {"WORLD_SIZE", "8"},
          {"LOCAL_RANK", "1"},    {"LOCAL_WORLD_SIZE", "2"},
          {"MASTER_ADDR", "n0"},  {"MASTER_PORT", "29500"},
          {"NEXTWORD_TOKEN", "x"}};
}

TEST(PlaceTest, WithoutALauncherAProcessIsAlone) {
  for (const Variables& variables :
       {Variables{}, Variables{{"WORLD_SIZE", "1"}, {"RANK", "0"}}}) {
    const auto place = PlaceOf(variables);
    ASSERT_TRUE(place.ok()) << place.status();
    EXPECT_EQ(place->rank, 0);
    EXPECT_EQ(place->world_size, 1);
    EXPECT_EQ(place->local_world_size, 1);
    EXPECT_FALSE(place->hosts_coordinator);
  }
}

TEST(PlaceTest, ReadsWhatTorchrunSets) {
  Variables variables = Rank3Of8();
  const auto third = PlaceOf(variables);
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ(third->rank, 3);
  EXPECT_EQ(third->world_size, 8);
  EXPECT_EQ(third->local_rank, 1);
  EXPECT_EQ(third->local_world_size, 2);
  EXPECT_EQ(third->coordinator, "n0:29500");
  EXPECT_FALSE(third->hosts_coordinator);
  EXPECT_EQ(third->token, "x");
  variables["RANK"] = "0";
  EXPECT_TRUE(PlaceOf(variables)->hosts_coordinator);
}

TEST(PlaceTest, ALaunchersCoordinatorIsElsewhere) {
  Variables variables = Rank3Of8();
  variables["RANK"] = "0";
  variables["NEXTWORD_COORDINATOR"] = "n5:1";
  variables["NEXTWORD_RUN_ID"] = "job";
  variables["NEXTWORD_TLS_CA"] = "ca.pem";
  const auto place = PlaceOf(variables);
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(place->coordinator, "n5:1");
  EXPECT_FALSE(place->hosts_coordinator);
  EXPECT_EQ(place->run_id, "job");
  EXPECT_EQ(place->tls_ca_file, "ca.pem");
}

TEST(PlaceTest, NamesTheVariableThatIsMissingOrWrong) {
  struct {
    std::string name;
    std::optional<std::string> value;
    std::string message;
  } const cases[] = {
      {"RANK", std::nullopt, "no RANK"},
      {"RANK", "8", "RANK is '8', wanted a number from 0 to 7"},
      {"RANK", "-1", "RANK is '-1'"},
      {"RANK", "three", "RANK is 'three'"},
      {"WORLD_SIZE", "0", "WORLD_SIZE is '0'"},
      {"WORLD_SIZE", "1000000", "WORLD_SIZE is '1000000'"},
      {"LOCAL_RANK", std::nullopt, "no LOCAL_RANK"},
      {"LOCAL_WORLD_SIZE", "9", "LOCAL_WORLD_SIZE is '9'"},
      {"MASTER_PORT", "0", "MASTER_PORT is '0'"},
      {"MASTER_ADDR", std::nullopt, "MASTER_ADDR"},
      {"NEXTWORD_TOKEN", std::nullopt, "no NEXTWORD_TOKEN"},
  };
  for (const auto& c : cases) {
    Variables variables = Rank3Of8();
    variables.erase(c.name);
    if (c.value.has_value()) variables[c.name] = *c.value;
    const absl::Status status = PlaceOf(variables).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

TEST(PlaceTest, RanksTakeTheGpusOfTheirMachineInTurn) {
  Place place;
  place.world_size = 8;
  place.rank = 7;
  place.local_rank = 3;
  place.local_world_size = 4;
  EXPECT_THAT(GpuVariables(place, {"0", "1", "2", "5"}),
              ElementsAre(Pair("CUDA_VISIBLE_DEVICES", "5")));
  EXPECT_THAT(GpuVariables(place, {"0", "GPU-abc"}),
              ElementsAre(Pair("CUDA_VISIBLE_DEVICES", "GPU-abc"),
                          Pair("NCCL_HOSTID", "rank-7")));
  EXPECT_THAT(GpuVariables(place, {}), IsEmpty());
  // A rank that has its machine to itself sees all of its GPUs.
  place.local_world_size = 1;
  EXPECT_THAT(GpuVariables(place, {"0", "1"}), IsEmpty());
  EXPECT_THAT(VisibleGpus([](const std::string&) { return "3, 1"; }),
              ElementsAre("3", "1"));
}

}  // namespace
}  // namespace nextword

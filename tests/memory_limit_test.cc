#include "autograd/base/memory_limit.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

using ::testing::Eq;
using ::testing::Optional;

class MemoryLimitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }

  void Write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }

  // Of a process whose groups are `groups`.
  std::optional<int64_t> Limit(const std::string& groups) const {
    Write("groups", groups);
    return MemoryLimit(root_ / "groups", root_);
  }

  const std::filesystem::path root_ =
      std::filesystem::path(::testing::TempDir()) /
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(MemoryLimitTest, OfTheGroupAndThoseAroundIt) {
  Write("job/memory.max", "5000");
  Write("job/step/memory.max", "max");
  Write("job/step/task/memory.max", "7000");
  EXPECT_THAT(Limit("0::/job/step/task"), Optional(5000));
  Write("job/step/memory.max", "4000");
  EXPECT_THAT(Limit("0::/job/step/task"), Optional(4000));
  EXPECT_THAT(Limit("0::/job"), Optional(5000));
}

TEST_F(MemoryLimitTest, OfAContainerThatSeesItsGroupAsTheRoot) {
  Write("memory.max", "3000");
  EXPECT_THAT(Limit("0::/"), Optional(3000));
  EXPECT_THAT(Limit("0::/docker/not/seen/here"), Optional(3000));
}

TEST_F(MemoryLimitTest, OfVersion1) {
  Write("memory/job/memory.limit_in_bytes", "6000");
  Write("memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_THAT(Limit("9:name=systemd:/\n4:hugetlb,memory:/job\n0::/"),
              Optional(6000));
}

TEST_F(MemoryLimitTest, NoneWhereNothingLimits) {
  EXPECT_THAT(Limit(""), Eq(std::nullopt));
  EXPECT_THAT(Limit("0::/job"), Eq(std::nullopt));
  Write("job/memory.max", "max");
  EXPECT_THAT(Limit("0::/job"), Eq(std::nullopt));
  Write("job/memory.max", "torn 12");
  EXPECT_THAT(Limit("0::/job\nno colons\n::\n0::relative"), Eq(std::nullopt));
  EXPECT_THAT(MemoryLimit(root_ / "none", root_ / "none"), Eq(std::nullopt));
}

}  // namespace
}  // namespace nextword

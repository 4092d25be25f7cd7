// The metrics file: lines, history across resumes, crashes.
#include "distributed/metrics.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/directory.h"
#include "autograd/base/file.h"
#include "autograd/base/status.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

std::string TestPath() {
  return absl::StrCat(
      testing::TempDir(), "/",
      testing::UnitTest::GetInstance()->current_test_info()->name(), ".jsonl");
}

MetricsFile OpenFile(int64_t last_step) {
  auto file = MetricsFile::Open(TestPath(), last_step);
  NW_CHECK_OK(file.status());
  return *std::move(file);
}

TEST(Metrics, WritesOneObjectALineAtOnce) {
  ASSERT_TRUE(RemoveTree(TestPath()).ok());
  MetricsFile file = OpenFile(-1);
  ASSERT_TRUE(file.Write(1, {{"loss", 8.5},
                             {"tokens", int64_t{9007199254740993}},
                             {"text", "a \"b\"\n\xff"}})
                  .ok());
  EXPECT_EQ(*ReadFile(TestPath()),
            "{\"step\":1,\"loss\":8.5,\"tokens\":9007199254740993,"
            "\"text\":\"a \\\"b\\\"\\n\xef\xbf\xbd\"}\n");
  ASSERT_TRUE(file.Write(2, {{"loss", NAN}, {"norm", -INFINITY}}).ok());
  ASSERT_TRUE(file.Sync().ok());
  EXPECT_TRUE(
      ReadFile(TestPath())
          ->ends_with(
              "\n{\"step\":2,\"loss\":\"NaN\",\"norm\":\"-Infinity\"}\n"));
}

TEST(Metrics, ResumingLeavesOneHistory) {
  ASSERT_TRUE(RemoveTree(TestPath()).ok());
  for (int64_t step : {1, 2, 3}) {
    ASSERT_TRUE(OpenFile(step).Write(step, {{"loss", 1.0}}).ok());
  }
  ASSERT_TRUE(OpenFile(1).Write(2, {{"loss", 2.0}}).ok());
  EXPECT_EQ(*ReadFile(TestPath()),
            "{\"step\":1,\"loss\":1.0}\n{\"step\":2,\"loss\":2.0}\n");
  OpenFile(-1);
  EXPECT_EQ(*ReadFile(TestPath()), "");
}

TEST(Metrics, DropsALineThatACrashCutOff) {
  ASSERT_TRUE(WriteFileAtomically(
                  TestPath(), "{\"step\":1}\n{\"loss\":3}\n{\"step\":2,\"lo")
                  .ok());
  ASSERT_TRUE(OpenFile(2).Write(2, {}).ok());
  EXPECT_EQ(*ReadFile(TestPath()), "{\"step\":1}\n{\"step\":2}\n");
}

TEST(Metrics, CompletesALastLineWithoutItsEnd) {
  ASSERT_TRUE(WriteFileAtomically(TestPath(), "{\"step\":1}").ok());
  ASSERT_TRUE(OpenFile(1).Write(2, {}).ok());
  EXPECT_EQ(*ReadFile(TestPath()), "{\"step\":1}\n{\"step\":2}\n");
}

TEST(Metrics, DropsAStepThatIsNoStep) {
  const std::string path = ::testing::TempDir() + "/large_step";
  // 2^63, which would wrap to a step before all others.
  ASSERT_TRUE(WriteFileAtomically(path,
                                  "{\"step\":1}\n"
                                  "{\"step\":9223372036854775808}\n")
                  .ok());
  ASSERT_TRUE(MetricsFile::Open(path, 5).ok());
  EXPECT_EQ(*ReadFile(path), "{\"step\":1}\n");
}

TEST(Metrics, NamesAPathThatCannotBeWritten) {
  const auto file = MetricsFile::Open("/nowhere/metrics.jsonl", 0);
  EXPECT_NE(file.status().message().find("/nowhere/metrics.jsonl"),
            std::string::npos);
}

}  // namespace
}  // namespace nextword

// Files that appear whole or not at all.
#include "autograd/base/file.h"

#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

using ::testing::HasSubstr;

std::string TestPath(const std::string& name) {
  return ::testing::TempDir() + "/" + name;
}

int FilesLike(const std::string& name) {
  int count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(::testing::TempDir())) {
    const std::string file = entry.path().filename().string();
    count += file.compare(0, name.size(), name) == 0;
  }
  return count;
}

TEST(FileTest, WritesAndReadsBack) {
  const std::string path = TestPath("whole");
  ASSERT_TRUE(WriteFileAtomically(path, "first").ok());
  ASSERT_TRUE(WriteFileAtomically(path, "second").ok());
  EXPECT_EQ(*ReadFile(path), "second");
  EXPECT_EQ(FilesLike("whole"), 1);
}

TEST(FileTest, AnErrorLeavesTheOldFileAndNoOther) {
  const std::string path = TestPath("kept");
  ASSERT_TRUE(WriteFileAtomically(path, "old").ok());
  const absl::Status status =
      WriteFileAtomically(path, [](FileWriter& file) -> absl::Status {
        EXPECT_TRUE(file.Append("half of the new").ok());
        return absl::DataLossError("no more");
      });
  EXPECT_EQ(status.message(), "no more");
  EXPECT_EQ(*ReadFile(path), "old");
  EXPECT_EQ(FilesLike("kept"), 1);
}

TEST(FileTest, DoesNotReplaceWhatIsNoRegularFile) {
  const std::string path = TestPath("pipe");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const absl::Status status = WriteFileAtomically(path, "text");
  EXPECT_THAT(std::string(status.message()), HasSubstr("not a regular file"));
  EXPECT_TRUE(std::filesystem::is_fifo(path));
}

TEST(FileTest, ErrorsNameThePathAndTheReason) {
  const absl::Status status = ReadFile("/no/such/file").status();
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("/no/such/file: cannot open: No such file"));
}

}  // namespace
}  // namespace nextword

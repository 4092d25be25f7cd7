// Files that appear whole or not at all.
#include "autograd/base/file.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "autograd/base/fault_point.h"
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

TEST(FileTest, ReadsAnywhere) {
  const std::string path = TestPath("anywhere");
  ASSERT_TRUE(WriteFileAtomically(path, "0123456789").ok());
  const auto file = FileReader::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->size(), 10);
  std::string part(3, ' ');
  ASSERT_TRUE(file->Read(7, 3, part.data()).ok());
  EXPECT_EQ(part, "789");
  ASSERT_TRUE(file->Read(10, 0, part.data()).ok());
  const absl::Status beyond = file->Read(8, 3, part.data());
  EXPECT_EQ(beyond.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(beyond.message()),
              HasSubstr("anywhere: ends at byte 10, wanted 1 more"));
  EXPECT_FALSE(FileReader::Open(TestPath("nowhere")).ok());
  EXPECT_FALSE(FileReader::Open(::testing::TempDir()).ok());
}

// A hook for all tests of this file: the errno of the next call `operation`.
std::string failing_operation;
int failing_errno = 0;

int FailOnce(const char* operation, const std::string&) {
  if (failing_operation != operation) return 0;
  failing_operation.clear();
  return failing_errno;
}

TEST(FileTest, WhatCouldNotBeWrittenIsWrittenLater) {
  const std::string path = TestPath("later");
  auto file = FileWriter::Create(path);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->Append("first ").ok());
  SetFaultHook(FailOnce);
  failing_operation = "write";
  failing_errno = ENOSPC;
  EXPECT_THAT(std::string(file->Flush().message()),
              HasSubstr("No space left on device"));
  SetFaultHook(nullptr);
  ASSERT_TRUE(file->Append("second").ok());
  ASSERT_TRUE(file->SyncAndClose().ok());
  EXPECT_EQ(*ReadFile(path), "first second");
}

TEST(FileTest, EveryCallMayFail) {
  const std::string path = TestPath("failing");
  ASSERT_TRUE(WriteFileAtomically(path, "old").ok());
  SetFaultHook(FailOnce);
  for (const char* operation : {"create", "write", "sync", "close", "rename"}) {
    failing_operation = operation;
    failing_errno = EIO;
    const absl::Status status = WriteFileAtomically(path, "new");
    EXPECT_THAT(std::string(status.message()), HasSubstr("Input/output error"))
        << operation;
    EXPECT_EQ(*ReadFile(path), "old") << operation;
    EXPECT_EQ(FilesLike("failing"), 1) << operation;
  }
  for (const char* operation : {"open", "read"}) {
    failing_operation = operation;
    EXPECT_FALSE(ReadFile(path).ok()) << operation;
  }
  SetFaultHook(nullptr);
}

}  // namespace
}  // namespace nextword

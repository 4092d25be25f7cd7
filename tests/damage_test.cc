// Any damage to any file of a checkpoint is seen, and none crashes a reader.
#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/directory.h"
#include "autograd/base/file.h"
#include "distributed/run_checkpoints.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_training.h"

namespace nextword {
namespace {

using ::testing::HasSubstr;

class DamageTest : public TrainingTest {};

// Without waiting for the disk.
void Write(const std::string& path, const std::string& bytes) {
  auto file = FileWriter::Create(path);
  ASSERT_TRUE(file.ok() && file->Append(bytes).ok() && file->Flush().ok());
}

// What a disk, a copy that was cut off, or a hand may make of a file.
std::string Damaged(const std::string& whole, std::mt19937_64& random,
                    const std::string& other, std::string* what) {
  std::string bytes = whole;
  const size_t at = random() % bytes.size();
  switch (random() % 7) {
    case 0:
    case 1:
      *what = absl::StrCat("a bit of byte ", at);
      bytes[at] ^= static_cast<char>(1 << random() % 8);
      break;
    case 2:
      *what = absl::StrCat("cut off at ", at);
      bytes.resize(at);
      break;
    case 3: {
      const size_t size = 1 + random() % 4096;
      *what = absl::StrCat(size, " zeros from ", at);
      const size_t end = std::min(bytes.size(), at + size);
      std::fill(bytes.begin() + at, bytes.begin() + end, '\0');
      break;
    }
    case 4:
      *what = "longer";
      bytes.append(1 + random() % 100, static_cast<char>(random()));
      break;
    case 5: {
      *what = absl::StrCat("bytes from ", at, " twice");
      bytes.insert(at, bytes.substr(at, 1 + random() % 100));
      break;
    }
    case 6:
      *what = "another file's";
      bytes = other;
      break;
  }
  return bytes;
}

TEST_F(DamageTest, IsSeenInEveryFile) {
  ASSERT_TRUE(Run(Config("run", {"steps=6"})).ok());
  const std::string directory = CheckpointDirectory(Path("run"), 6);
  std::map<std::string, std::string> files;
  const std::vector<std::string> names = *ListDirectory(directory);
  for (const std::string& name : names) {
    files[name] = *ReadFile(directory + "/" + name);
  }
  ASSERT_EQ(files.size(), 5);
  std::mt19937_64 random(20261126);
  int tried = 0;
  for (int round = 0; round < 300; ++round) {
    for (const auto& [name, whole] : files) {
      std::string what;
      const std::string& other =
          std::next(files.begin(), random() % files.size())->second;
      const std::string bytes = Damaged(whole, random, other, &what);
      if (bytes == whole) continue;
      const std::string path = directory + "/" + name;
      Write(path, bytes);
      const absl::Status status = Checkpoint::Open(directory).status();
      ASSERT_FALSE(status.ok()) << name << ": " << what;
      ASSERT_THAT(std::string(status.message()), HasSubstr(directory))
          << name << ": " << what;
      // It is passed over, in favour of the one before.
      if (tried % 50 == 0) {
        const auto latest = FindLatestCheckpoint(Path("run"));
        ASSERT_TRUE(latest.ok()) << latest.status();
        EXPECT_EQ((*latest)->manifest().step(), 3) << name << ": " << what;
      }
      Write(path, whole);
      ++tried;
    }
  }
  EXPECT_GT(tried, 1300);
  EXPECT_TRUE(Checkpoint::Open(directory).ok());
  RecordProperty("damages", tried);
}

}  // namespace
}  // namespace nextword

// Checkpoints: all or nothing, verified, and found again.
#include "distributed/checkpoint.h"

#include <sys/resource.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "autograd/base/directory.h"
#include "autograd/base/fault_point.h"
#include "autograd/base/file.h"
#include "autograd/base/hash.h"
#include "distributed/manifest.h"
#include "distributed/run_checkpoints.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

using ::google::protobuf::util::MessageDifferencer;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Tensor Zeros(const Shape& shape, DType dtype) {
  const Tensor tensor = Empty(shape, dtype);
  std::memset(tensor.raw_data(), 0, tensor.size_bytes());
  return tensor;
}

const std::vector<std::string> kFiles = {
    "config.textproto", "manifest.textproto", "model.safetensors",
    "optimizer.safetensors", "tokenizer.json"};

// A run's folder of its own for every test.
class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    run_ = absl::StrCat(
        testing::TempDir(), "/",
        testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(RemoveTree(run_).ok());
  }

  static CheckpointState StateAt(int64_t step) {
    CheckpointState state;
    state.step = step;
    state.next_sequence = (uint64_t{1} << 63) + step;
    state.tokenizer_fingerprint = 0xfedcba9876543210;
    state.tokenizer = std::string("any bytes \0 \xff\n", 13);
    state.config.set_seed(7);
    state.config.set_run_dir("runs/x");
    state.model.set_layers(3);
    state.versions = {{"oneDNN", "2.6.3"}, {"nextword", "abc"}};
    const float value = static_cast<float>(step);
    state.weights = {{"w", FromVector<float>({value, 2, 3, 4}, {2, 2})},
                     {"b", FromVector<float>({value}, {1})}};
    state.moments = {{"w.m", FromVector<float>({5, 6, 7, value}, {2, 2})}};
    return state;
  }

  void Save(int64_t step) {
    const absl::Status status = SaveCheckpoint(run_, StateAt(step));
    ASSERT_TRUE(status.ok()) << status;
  }

  std::string FileOf(int64_t step, const std::string& name) const {
    return absl::StrCat(CheckpointDirectory(run_, step), "/", name);
  }

  // Flips one bit in the middle of a file.
  void Damage(const std::string& path) {
    std::string bytes = *ReadFile(path);
    bytes[bytes.size() / 2] ^= 1;
    ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  }

  std::vector<std::string> Names() const {
    return *ListDirectory(CheckpointsDirectory(run_));
  }

  std::string run_;
};

TEST_F(CheckpointTest, RoundTrips) {
  Save(100);
  EXPECT_THAT(Names(), ElementsAre("step-00000100"));
  EXPECT_EQ(*ListDirectory(CheckpointDirectory(run_, 100)), kFiles);
  const auto checkpoint = Checkpoint::Open(CheckpointDirectory(run_, 100));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const CheckpointState state = StateAt(100);
  const CheckpointManifest& manifest = checkpoint->manifest();
  EXPECT_EQ(manifest.step(), 100);
  EXPECT_EQ(manifest.next_sequence(), state.next_sequence);
  EXPECT_EQ(manifest.seed(), 7);
  EXPECT_EQ(manifest.tokenizer_fingerprint(), "fedcba9876543210");
  EXPECT_TRUE(MessageDifferencer::Equals(manifest.model(), state.model));
  EXPECT_TRUE(MessageDifferencer::Equals(checkpoint->config(), state.config));
  ASSERT_EQ(manifest.version_size(), 2);
  EXPECT_EQ(manifest.version(1).name(), "oneDNN");
  EXPECT_EQ(manifest.version(1).version(), "2.6.3");
  EXPECT_EQ(*ReadFile(checkpoint->tokenizer_path()), state.tokenizer);

  const Tensor w = Zeros({2, 2}, DType::kF32);
  const Tensor b = Zeros({1}, DType::kF32);
  const Tensor m = Zeros({2, 2}, DType::kF32);
  const absl::Status status =
      checkpoint->Read({{"b", b}, {"w", w}}, {{"w.m", m}});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(ToVector<float>(w), ElementsAre(100, 2, 3, 4));
  EXPECT_THAT(ToVector<float>(b), ElementsAre(100));
  EXPECT_THAT(ToVector<float>(m), ElementsAre(5, 6, 7, 100));
}

TEST_F(CheckpointTest, SameStateSameBytes) {
  Save(1);
  std::vector<std::string> first;
  for (const auto& name : kFiles) first.push_back(*ReadFile(FileOf(1, name)));
  Save(1);
  for (size_t i = 0; i < kFiles.size(); ++i) {
    EXPECT_EQ(*ReadFile(FileOf(1, kFiles[i])), first[i]) << kFiles[i];
  }
}

TEST_F(CheckpointTest, AnotherShapeListsEveryTensorAndReadsNone) {
  Save(1);
  const auto checkpoint = Checkpoint::Open(CheckpointDirectory(run_, 1));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const Tensor b = Zeros({1}, DType::kF32);
  const absl::Status status =
      checkpoint->Read({{"b", b}, {"w", Zeros({2, 3}, DType::kF32)}},
                       {{"v.m", Zeros({2, 2}, DType::kF32)}});
  EXPECT_THAT(
      status.message(),
      AllOf(HasSubstr("is a checkpoint of another shape"),
            HasSubstr("model.safetensors: tensor w is F32[2, 2], wanted "
                      "F32[2, 3]"),
            HasSubstr("optimizer.safetensors: has no tensor v.m"),
            HasSubstr("optimizer.safetensors: tensor w.m is not part")));
  EXPECT_THAT(status.message(), testing::Not(HasSubstr("tensor b")));
  EXPECT_THAT(ToVector<float>(b), ElementsAre(0));
  EXPECT_FALSE(checkpoint->ReadWeights({{"b", b}}).ok());
  EXPECT_THAT(ToVector<float>(b), ElementsAre(0));
  EXPECT_TRUE(
      checkpoint->ReadWeights({{"b", b}, {"w", Zeros({2, 2}, DType::kF32)}})
          .ok());
  EXPECT_THAT(ToVector<float>(b), ElementsAre(1));
}

TEST_F(CheckpointTest, DamageToAnyFileIsSeen) {
  for (const std::string& name : kFiles) {
    SCOPED_TRACE(name);
    const std::string directory = CheckpointDirectory(run_, 1);
    Save(1);
    ASSERT_TRUE(Checkpoint::Open(directory).ok());
    Damage(FileOf(1, name));
    EXPECT_THAT(Checkpoint::Open(directory).status().message(),
                AllOf(HasSubstr(FileOf(1, name)), HasSubstr("damaged")));

    Save(1);
    const std::string whole = *ReadFile(FileOf(1, name));
    ASSERT_TRUE(
        WriteFileAtomically(FileOf(1, name), whole.substr(0, whole.size() - 1))
            .ok());
    EXPECT_THAT(Checkpoint::Open(directory).status().message(),
                HasSubstr(FileOf(1, name)));

    Save(1);
    ASSERT_TRUE(RemoveTree(FileOf(1, name)).ok());
    EXPECT_EQ(Checkpoint::Open(directory).status().code(),
              absl::StatusCode::kNotFound);
  }
}

// Manifests with a good checksum and bad contents.
TEST_F(CheckpointTest, ManifestsAreNotTrusted) {
  Save(1);
  const std::string directory = CheckpointDirectory(run_, 1);
  const std::string good = *ReadFile(FileOf(1, kManifestFile));
  const auto error_with = [&](const std::string& from, const std::string& to) {
    std::string body = good.substr(0, good.rfind("# xxh3"));
    EXPECT_TRUE(absl::StrContains(body, from)) << body;
    body = absl::StrReplaceAll(body, {{from, to}});
    const std::string text = absl::StrCat(
        body, "# xxh3 of the lines above: ", HexDigits(Hash64(body)), "\n");
    EXPECT_TRUE(WriteFileAtomically(FileOf(1, kManifestFile), text).ok());
    return std::string(Checkpoint::Open(directory).status().message());
  };
  EXPECT_EQ(error_with("step: 1", "step: 1"), "");
  EXPECT_THAT(error_with("tokenizer.json", "../../../etc/passwd"),
              HasSubstr("lists the file ../../../etc/passwd"));
  EXPECT_THAT(error_with("tokenizer.json", "model.safetensors"),
              HasSubstr("listed twice"));
  EXPECT_THAT(error_with("format_version: 1", "format_version: 2 new: 1"),
              HasSubstr("format_version: is 2, wanted 1"));
  EXPECT_THAT(error_with("seed: 7", "sede: 7"),
              HasSubstr("sede: unknown field; did you mean seed?"));
}

// Sizes at which a disk is full: in the tensors, in the manifest, everywhere.
TEST_F(CheckpointTest, AFullDiskLeavesWhatWasThere) {
  Save(1);
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit old = limit;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  for (rlim_t bytes : {0, 1, 100, 200, 300}) {
    SCOPED_TRACE(bytes);
    limit.rlim_cur = bytes;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const absl::Status again = SaveCheckpoint(run_, StateAt(1));
    const absl::Status next = SaveCheckpoint(run_, StateAt(2));
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    EXPECT_THAT(again.message(), HasSubstr("File too large"));
    EXPECT_THAT(next.message(), HasSubstr("File too large"));
    EXPECT_THAT(Names(), ElementsAre("step-00000001"));
    EXPECT_TRUE(Checkpoint::Open(CheckpointDirectory(run_, 1)).ok());
  }
  std::signal(SIGXFSZ, old_handler);
}

TEST_F(CheckpointTest, LeftoversOfADeadWriterAreNoCheckpointsAndGo) {
  Save(1);
  const std::string leftover =
      absl::StrCat(CheckpointsDirectory(run_), "/.tmp-step-2");
  ASSERT_TRUE(MakeDirectories(leftover).ok());
  ASSERT_TRUE(WriteFileAtomically(leftover + "/model.safetensors", "x").ok());
  EXPECT_THAT(*CheckpointSteps(run_), ElementsAre(1));
  Save(2);
  EXPECT_THAT(Names(), ElementsAre("step-00000001", "step-00000002"));
}

TEST_F(CheckpointTest, ADamagedCheckpointIsReplaced) {
  Save(1);
  Damage(FileOf(1, "model.safetensors"));
  Save(1);
  EXPECT_TRUE(Checkpoint::Open(CheckpointDirectory(run_, 1)).ok());
  EXPECT_THAT(Names(), ElementsAre("step-00000001"));
}

TEST_F(CheckpointTest, TheLatestIsTheNewestWholeOne) {
  EXPECT_FALSE((*FindLatestCheckpoint(run_)).has_value());
  for (int64_t step : {9, 10, 123456789}) Save(step);
  const auto latest_step = [&] {
    return (*FindLatestCheckpoint(run_))->manifest().step();
  };
  EXPECT_EQ(latest_step(), 123456789);
  Damage(FileOf(123456789, "optimizer.safetensors"));
  EXPECT_EQ(latest_step(), 10);
  ASSERT_TRUE(RemoveTree(FileOf(10, kManifestFile)).ok());
  EXPECT_EQ(latest_step(), 9);
  ASSERT_TRUE(RemoveTree(FileOf(9, "tokenizer.json")).ok());
  EXPECT_THAT(FindLatestCheckpoint(run_).status().message(),
              AllOf(HasSubstr("has checkpoints, but none is whole"),
                    HasSubstr(FileOf(123456789, "optimizer.safetensors")),
                    HasSubstr(FileOf(10, kManifestFile)),
                    HasSubstr(FileOf(9, "tokenizer.json"))));
}

TEST_F(CheckpointTest, OtherNamesAreNoCheckpoints) {
  for (const char* name : {"step-5", "step-", "step--0000001", "step-0000000x",
                           "notes", "step-99999999999999999999"}) {
    ASSERT_TRUE(
        MakeDirectories(absl::StrCat(CheckpointsDirectory(run_), "/", name))
            .ok());
  }
  EXPECT_THAT(*CheckpointSteps(run_), ElementsAre());
  EXPECT_FALSE((*FindLatestCheckpoint(run_)).has_value());
}

TEST_F(CheckpointTest, ResumeAuto) {
  EXPECT_FALSE((*ResumeFrom("auto", run_)).has_value());
  Save(3);
  EXPECT_EQ((*ResumeFrom("auto", run_))->manifest().step(), 3);
  Damage(FileOf(3, "model.safetensors"));
  EXPECT_EQ(ResumeFrom("auto", run_).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(CheckpointTest, ResumeNone) {
  EXPECT_FALSE((*ResumeFrom("none", run_)).has_value());
  ASSERT_TRUE(MakeDirectories(CheckpointsDirectory(run_)).ok());
  EXPECT_FALSE((*ResumeFrom("none", run_)).has_value());
  Save(3);
  EXPECT_THAT(ResumeFrom("none", run_).status().message(),
              HasSubstr("has checkpoints, the newest of step 3"));
}

TEST_F(CheckpointTest, ResumeFromAPath) {
  Save(3);
  Save(4);
  const std::string other = run_ + "/other";
  EXPECT_EQ(
      (*ResumeFrom(CheckpointDirectory(run_, 3), other))->manifest().step(), 3);
  EXPECT_EQ((*ResumeFrom(run_, other))->manifest().step(), 4);
  EXPECT_THAT(ResumeFrom(run_ + "/nowhere", run_).status().message(),
              HasSubstr("nowhere: is no folder"));
  EXPECT_THAT(ResumeFrom(CheckpointsDirectory(run_), run_).status().message(),
              HasSubstr("checkpoints/manifest.textproto"));
  ASSERT_TRUE(MakeDirectories(CheckpointsDirectory(other)).ok());
  EXPECT_THAT(ResumeFrom(other, run_).status().message(),
              HasSubstr("has no checkpoint"));
}

TEST_F(CheckpointTest, PruningKeepsTheNewest) {
  for (int64_t step : {1, 2, 3, 4}) Save(step);
  ASSERT_TRUE(PruneCheckpoints(run_, 4, {.keep = 0}).ok());
  EXPECT_EQ(Names().size(), 4);
  ASSERT_TRUE(PruneCheckpoints(run_, 4, {.keep = 2}).ok());
  EXPECT_THAT(Names(), ElementsAre("step-00000003", "step-00000004"));
}

TEST_F(CheckpointTest, PruningSparesTheOneJustWritten) {
  for (int64_t step : {1, 2, 8, 9}) Save(step);
  ASSERT_TRUE(RemoveTree(FileOf(2, kManifestFile)).ok());
  Save(3);
  ASSERT_TRUE(PruneCheckpoints(run_, 3, {.keep = 1}).ok());
  EXPECT_THAT(Names(), ElementsAre("step-00000002", "step-00000003",
                                   "step-00000008", "step-00000009"));
}

// The steps that are kept of `saved`.
std::vector<int64_t> Kept(const std::vector<SavedStep>& saved,
                          const Retention& retention) {
  std::vector<int64_t> steps;
  for (const auto& [step, why] : KeptSteps(saved, retention)) {
    steps.push_back(step);
  }
  return steps;
}

TEST(RetentionTest, KeepsTheNewestScheduledOnes) {
  const std::vector<SavedStep> saved = {{10}, {20}, {30}, {40}};
  EXPECT_THAT(Kept(saved, {.every = 10, .keep = 2}), ElementsAre(30, 40));
  EXPECT_THAT(Kept(saved, {.every = 10, .keep = 0}),
              ElementsAre(10, 20, 30, 40));
  EXPECT_THAT(Kept({}, {.every = 10, .keep = 2}), ElementsAre());
}

// As many scheduled ones as if the run had not been interrupted.
TEST(RetentionTest, OthersDoNotCount) {
  EXPECT_THAT(Kept({{10}, {20}, {23}}, {.every = 10, .keep = 2}),
              ElementsAre(10, 20, 23));
  EXPECT_THAT(Kept({{10}, {20}, {23}, {30}}, {.every = 10, .keep = 2}),
              ElementsAre(20, 30));
  EXPECT_THAT(Kept({{3}, {7}}, {.every = 0, .keep = 1}), ElementsAre(7));
}

TEST(RetentionTest, KeepsMultiplesForGood) {
  EXPECT_THAT(Kept({{10}, {20}, {30}, {40}, {50}},
                   {.every = 10, .keep = 1, .keep_every = 20}),
              ElementsAre(20, 40, 50));
}

TEST(RetentionTest, KeepsTheBest) {
  const std::vector<SavedStep> saved = {{10, "a", 1.0}, {20, "b", 3.0},
                                        {30, "b", 2.0}, {40, "", {}},
                                        {50, "b", 2.0}, {60, "b", 4.0}};
  // That of step 10 was evaluated on something else; of equal ones, the newer.
  EXPECT_THAT(Kept(saved, {.every = 10, .keep = 1, .keep_best = 1}),
              ElementsAre(50, 60));
  EXPECT_THAT(Kept(saved, {.every = 10, .keep = 1, .keep_best = 2}),
              ElementsAre(30, 50, 60));
  EXPECT_THAT(KeptSteps(saved, {.every = 10, .keep = 1, .keep_best = 4})[60],
              "newest, held-out loss");
}

TEST_F(CheckpointTest, TheBestIsKept) {
  const double losses[] = {3, 1, 2, 2.5};
  for (int64_t step : {1, 2, 3, 4}) {
    CheckpointState state = StateAt(step);
    state.held_out_loss = losses[step - 1];
    state.held_out_fingerprint = 7;
    ASSERT_TRUE(SaveCheckpoint(run_, state).ok());
    ASSERT_TRUE(
        PruneCheckpoints(run_, step, {.every = 1, .keep = 1, .keep_best = 1})
            .ok());
  }
  EXPECT_THAT(Names(), ElementsAre("step-00000002", "step-00000004"));
}

TEST_F(CheckpointTest, SetsDamagedOnesAside) {
  for (int round : {1, 2}) {
    SCOPED_TRACE(round);
    Save(1);
    Save(2);
    Damage(FileOf(2, "model.safetensors"));
    std::vector<DamagedCheckpoint> damaged;
    EXPECT_EQ((*FindLatestCheckpoint(run_, &damaged))->manifest().step(), 1);
    ASSERT_EQ(damaged.size(), 1);
    EXPECT_EQ(damaged[0].directory, CheckpointDirectory(run_, 2));
    EXPECT_THAT(damaged[0].reason, HasSubstr("model.safetensors: is damaged"));
    ASSERT_TRUE(SetAside(damaged[0]).ok());
    EXPECT_THAT(*CheckpointSteps(run_), ElementsAre(1));
  }
  EXPECT_THAT(Names(), ElementsAre("damaged-step-00000002",
                                   "damaged-step-00000002-2", "step-00000001"));
}

// A hook that lets reads of checkpoint 2 fail.
int FailReads(const char* operation, const std::string& path) {
  const bool fails = operation == std::string("read") &&
                     absl::StrContains(path, "step-00000002/model");
  return fails ? EIO : 0;
}

// To go on from an older one would lose what a mended disk has.
TEST_F(CheckpointTest, WhatCannotBeReadIsNotPassedOver) {
  Save(1);
  Save(2);
  SetFaultHook(FailReads);
  std::vector<DamagedCheckpoint> damaged;
  const absl::Status status = FindLatestCheckpoint(run_, &damaged).status();
  SetFaultHook(nullptr);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("step-00000002/model.safetensors"),
                    HasSubstr("Input/output error")));
  EXPECT_TRUE(damaged.empty());
  EXPECT_EQ((*FindLatestCheckpoint(run_))->manifest().step(), 2);
}

TEST_F(CheckpointTest, FindsWhatIsScheduledBefore) {
  for (int64_t step : {10, 17, 20, 23}) Save(step);
  const auto before = [&](int64_t step) -> int64_t {
    const auto found = *NewestScheduledBefore(run_, step, 10);
    return found.has_value() ? found->manifest().step() : -1;
  };
  EXPECT_EQ(before(25), 20);
  EXPECT_EQ(before(20), 10);
  EXPECT_EQ(before(10), -1);
  ASSERT_TRUE(RemoveCheckpointsAfter(run_, 17).ok());
  EXPECT_THAT(*CheckpointSteps(run_), ElementsAre(10, 17));
}

TEST_F(CheckpointTest, WhatMustBeDurableBeforeIsCalledBefore) {
  CheckpointState state = StateAt(1);
  state.before_publishing = [&] {
    EXPECT_THAT(*CheckpointSteps(run_), ElementsAre());
    return absl::OkStatus();
  };
  ASSERT_TRUE(SaveCheckpoint(run_, state).ok());
  state.step = 2;
  state.before_publishing = [] { return absl::DataLossError("no"); };
  EXPECT_EQ(SaveCheckpoint(run_, state).message(), "no");
  EXPECT_THAT(Names(), ElementsAre("step-00000001"));
}

}  // namespace
}  // namespace nextword

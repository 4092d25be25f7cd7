#include "tests/testing_training.h"

#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "autograd/base/file.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "configs/batch_config.h"
#include "configs/config.h"
#include "configs/validate.h"
#include "distributed/run_checkpoints.h"
#include "nlohmann/json.hpp"
#include "tests/testing_text.h"
#include "tests/testing_world.h"

namespace nextword {
namespace {

namespace fs = std::filesystem;

// Everything that a run can do, in little: dropout, lanes and micro-batches,
// clipping, a schedule, evaluation, samples and checkpoints.
constexpr char kConfig[] = R"(
  seed: 5 steps: 12
  model {
    layers: 2 hidden_size: 32 num_heads: 4 kv_heads: 2 context_length: 24
    position: ROPE norm: RMS_NORM activation: SWIGLU bias: false dropout: 0.1
  }
  data { tokenizer_vocab_size: 300 held_out_fraction: 0.1 }
  batch { lanes: 4 micro_batches: 2 micro_batch: 2 }
  optimizer { learning_rate: 1e-2 }
  schedule { kind: COSINE warmup_steps: 2 }
  evaluation { every: 4 max_sequences: 10 }
  sample { every: 6 tokens: 5 prompt: "the" }
  checkpoint { every: 3 keep: 0 }
  log { every: 2 })";

}  // namespace

void TrainingTest::SetUp() {
  folder_ = FreshDirectory(absl::StrCat(
      "training_",
      testing::UnitTest::GetInstance()->current_test_info()->name()));
  for (const char* name : {"a.txt", "b.txt", "c.txt"}) {
    WriteTestFile(Path(name), RandomText(name[0], 6000));
  }
  WriteTestFile(Path("config.textproto"), kConfig);
}

void TrainingTest::TearDown() { SetNumThreads(0); }

std::string TrainingTest::Path(const std::string& name) const {
  return absl::StrCat(folder_, "/", name);
}

TrainConfig TrainingTest::Config(
    const std::string& name, const std::vector<std::string>& overrides) const {
  std::vector<std::string> all = {"run_dir=" + Path(name),
                                  "data.source=" + Path("*.txt"),
                                  "data.cache_dir=" + Path("cache")};
  all.insert(all.end(), overrides.begin(), overrides.end());
  const auto config = LoadTrainConfig(Path("config.textproto"), all);
  NW_CHECK_OK(config.status());
  NW_CHECK_OK(ValidateTrainConfig(*config, ConfigUse::kTrain));
  return *config;
}

std::vector<int64_t> TrainingTest::Steps(const std::string& name) const {
  return *CheckpointSteps(Path(name));
}

absl::Status TrainingTest::Run(const TrainConfig& config,
                               const std::string& resume, Trainer::End end) {
  NW_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer,
                      Trainer::Create(config, resume, Alone()));
  NW_ASSIGN_OR_RETURN(const Trainer::End seen, trainer->Run());
  EXPECT_EQ(seen, end);
  return absl::OkStatus();
}

void TrainingTest::RunInWorld(int ranks, const TrainConfig& config,
                              const std::string& resume, Trainer::End end) {
  const int shards = ShardRanks(config.distributed(), ranks);
  InGroups(ranks, shards, [&](const RankGroups& groups) {
    const auto trainer = Trainer::Create(config, resume, groups);
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    const auto seen = (*trainer)->Run();
    ASSERT_TRUE(seen.ok()) << seen.status();
    EXPECT_EQ(*seen, end);
  });
}

Tensor TrainingTest::FinalWeights(const TrainConfig& config) {
  const auto trainer = Trainer::Create(config, "none", Alone());
  NW_CHECK_OK(trainer.status());
  NW_CHECK_OK((*trainer)->Run().status());
  return (*trainer)->parameters().values();
}

void TrainingTest::KillAfter(int step, const std::string& from,
                             const std::string& to) {
  fs::create_directories(Path(to) + "/checkpoints");
  for (int64_t saved : Steps(from)) {
    if (saved > step) continue;
    fs::copy(CheckpointDirectory(Path(from), saved),
             CheckpointDirectory(Path(to), saved), fs::copy_options::recursive);
  }
  fs::copy_file(Path(from) + "/metrics.jsonl", Path(to) + "/metrics.jsonl");
}

void TrainingTest::CopyRun(const std::string& from,
                           const std::string& to) const {
  fs::copy(Path(from), Path(to), fs::copy_options::recursive);
}

std::vector<std::string> TrainingTest::Metrics(const std::string& name) const {
  const std::string text = *ReadFile(Path(name) + "/metrics.jsonl");
  std::vector<std::string> lines;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.empty()) continue;
    auto record = nlohmann::ordered_json::parse(line.begin(), line.end());
    record.erase("tokens_per_second");
    lines.push_back(record.dump());
  }
  return lines;
}

std::string TrainingTest::CheckpointFile(const std::string& run, int step,
                                         const std::string& file) const {
  return *ReadFile(
      absl::StrCat(CheckpointDirectory(Path(run), step), "/", file));
}

void TrainingTest::ExpectSameRun(const std::string& a,
                                 const std::string& b) const {
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    EXPECT_TRUE(CheckpointFile(a, kSteps, file) ==
                CheckpointFile(b, kSteps, file))
        << file << " of " << a << " and " << b;
  }
  EXPECT_EQ(Metrics(a), Metrics(b));
}

}  // namespace nextword

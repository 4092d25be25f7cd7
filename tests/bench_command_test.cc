// `nextword bench`: what each kind measures, small, and what it refuses.
#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing_process.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::StartsWith;

using Arguments = std::vector<std::string>;
using Json = nlohmann::json;

constexpr char kConfig[] = R"(
  model {
    layers: 2 hidden_size: 32 num_heads: 4 context_length: 24 dropout: 0.1
    vocab_size: 300
  }
  batch { lanes: 2 micro_batches: 2 micro_batch: 3 })";

class BenchCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = FreshDirectory(absl::StrCat(
        "bench_",
        testing::UnitTest::GetInstance()->current_test_info()->name()));
    WriteTestFile(Path("config.textproto"), kConfig);
  }

  std::string Path(const std::string& name) const {
    return absl::StrCat(folder_, "/", name);
  }

  static Outcome Bench(const Arguments& more,
                       const ProcessOptions& options = {}) {
    Arguments arguments = {"tools/nextword", "bench", "--what"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunProcess(arguments, options);
  }

  static Json BenchJson(Arguments arguments) {
    arguments.push_back("--json");
    const Outcome outcome = Bench(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
    const Json json = Json::parse(outcome.output, nullptr, false);
    EXPECT_TRUE(json.is_object()) << outcome.output;
    EXPECT_EQ(json.value("what", ""), arguments[0]);
    EXPECT_GE(json.value("threads", 0), 1);
    EXPECT_THAT(json["versions"]["processor"], StartsWith(""));
    return json;
  }

  Json StepJson(const Arguments& more = {}) const {
    Arguments arguments = {"step", "--config", Path("config.textproto"),
                           "--steps", "3"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return BenchJson(arguments);
  }

  static void ExpectRefusal(const Arguments& arguments,
                            const std::vector<std::string>& words) {
    const Outcome outcome = Bench(arguments);
    EXPECT_EQ(outcome.exit_code, 1) << arguments.back();
    EXPECT_THAT(outcome.output, IsEmpty());
    for (const std::string& word : words) {
      EXPECT_THAT(outcome.errors, HasSubstr(word));
    }
  }

  std::string folder_;
};

std::set<std::string> Names(const Json& rows) {
  std::set<std::string> names;
  for (const Json& row : rows) names.insert(row.at("name"));
  return names;
}

// Best and median of something whose rate is work over time.
void ExpectRate(double work, double seconds, double rate) {
  EXPECT_GT(seconds, 0);
  EXPECT_NEAR(rate * seconds / work, 1, 1e-6);
}

TEST_F(BenchCommandTest, Gemm) {
  const Json json = BenchJson({"gemm", "--tokens", "16", "--seconds", "0.001"});
  EXPECT_EQ(json["tokens"], 16);
  ASSERT_EQ(json["dtypes"].size(), 2);
  EXPECT_EQ(json["dtypes"][0]["dtype"], "f32");
  EXPECT_EQ(json["dtypes"][1]["dtype"], "bf16");
  for (const Json& dtype : json["dtypes"]) {
    // A square one, and three for each of five layers.
    EXPECT_EQ(dtype["products"].size(), 16);
    double peak = 0;
    for (const Json& p : dtype["products"]) {
      const double flops =
          2.0 * double{p["m"]} * double{p["n"]} * double{p["k"]};
      ExpectRate(flops, p["best_seconds"], p["best_flops_per_second"]);
      ExpectRate(flops, p["median_seconds"], p["median_flops_per_second"]);
      EXPECT_LE(p["best_seconds"], p["median_seconds"]);
      EXPECT_GE(p["calls"], 3);
      peak = std::max(peak, double{p["best_flops_per_second"]});
    }
    EXPECT_EQ(dtype["peak_flops_per_second"], peak);
    EXPECT_THAT(Names(dtype["products"]),
                AllOf(Contains("head, dy' x"), Contains("qkv, x W'"),
                      Contains(std::string(dtype["peak_product"]))));
  }
  EXPECT_EQ(json["dtypes"][0]["products"][15]["m"], 50257);
  EXPECT_EQ(json["dtypes"][0]["products"][15]["k"], 16);
}

TEST_F(BenchCommandTest, Ops) {
  const Json json =
      BenchJson({"ops", "--tokens", "16", "--seconds", "0", "--dtype", "f32"});
  EXPECT_GT(json["bandwidth_bytes_per_second"], 1e8);
  ASSERT_EQ(json["dtypes"].size(), 1);
  const Json& rows = json["dtypes"][0]["kernels"];
  EXPECT_THAT(Names(rows), IsSupersetOf({"linear, up",
                                         "attention",
                                         "attention_grad",
                                         "layer_norm",
                                         "layer_norm_grad",
                                         "rms_norm",
                                         "rms_norm_grad",
                                         "gelu_tanh",
                                         "gelu_tanh_grad",
                                         "swiglu",
                                         "swiglu_grad",
                                         "rope",
                                         "cross_entropy",
                                         "cross_entropy_grad",
                                         "cross_entropy_with_grad",
                                         "sample, of all",
                                         "sample, top_p",
                                         "sample, top_k",
                                         "embedding",
                                         "embedding_grad",
                                         "adamw",
                                         "add",
                                         "dropout"}));
  const double peak = json["dtypes"][0]["matmul_peak_flops_per_second"];
  const double bandwidth = json["bandwidth_bytes_per_second"];
  std::set<std::string> models;
  for (const Json& row : rows) {
    SCOPED_TRACE(row.dump());
    const bool computes = row.contains("flops");
    const char* const unit = computes ? "flops" : "bytes";
    const double rate = row[absl::StrCat(unit, "_per_second")];
    ExpectRate(row[unit], row["best_seconds"], rate);
    EXPECT_NEAR(
        double{row["limit_share"]} * (computes ? peak : bandwidth) / rate, 1,
        1e-6);
    models.insert(row["model"]);
  }
  EXPECT_EQ(models, std::set<std::string>({"gpt2_124m", "quickstart"}));
  // gelu_tanh reads and writes 16 x 3072 floats.
  for (const Json& row : rows) {
    if (row["name"] == "gelu_tanh") {
      EXPECT_EQ(row["bytes"], 2 * 16 * 3072 * 4);
    }
  }
}

TEST_F(BenchCommandTest, Step) {
  const Json json = StepJson({"--set", "threads=2"});
  EXPECT_EQ(json["threads"], 2);
  EXPECT_EQ(json["dtype"], "f32");
  EXPECT_EQ(json["tokens_per_step"], 2 * 2 * 3 * 24);
  ASSERT_EQ(json["step_seconds"].size(), 3);
  double sum = 0;
  for (const Json& seconds : json["step_seconds"]) sum += double{seconds};
  EXPECT_GT(sum, 0);
  const double tokens = json["tokens_per_step"];
  ExpectRate(tokens, json["best_step_seconds"], json["best_tokens_per_second"]);
  ExpectRate(tokens, json["median_step_seconds"],
             json["median_tokens_per_second"]);
  ExpectRate(double{json["flops_per_step"]} /
                 double{json["matmul_peak_flops_per_second"]},
             json["best_step_seconds"], json["best_peak_share"]);
  EXPECT_NEAR(json["last_loss"], std::log(300), 0.3);
  EXPECT_GT(json["max_resident_bytes"], 1'000'000);
  // Weights, gradients and two moments at least.
  EXPECT_GT(json["allocator_peak_bytes"], 4 * 4 * int64_t{json["parameters"]});
#ifndef __SANITIZE_ADDRESS__
  EXPECT_EQ(json["allocator_system_calls_per_step"], 0);
#endif

  // All of the time is some kernel's, or nobody's.
  double share = json["outside_kernels_share"];
  EXPECT_GE(share, 0);
  for (const Json& kernel : json["kernels"]) share += double{kernel["share"]};
  EXPECT_NEAR(share, 1, 1e-6);
  // Products of the model; of attention, a product more than the count has.
  double flops = 0, floor = 0;
  for (const Json& kernel : json["kernels"]) {
    const double of_kernel = kernel["flops_per_step"];
    flops += kernel["name"] == "attention_grad" ? of_kernel * 4 / 5 : of_kernel;
    const double limit =
        std::max(of_kernel / double{json["matmul_peak_flops_per_second"]},
                 double{kernel["bytes_per_step"]} /
                     double{json["bandwidth_bytes_per_second"]});
    EXPECT_NEAR(double{kernel["limit_share"]} *
                    double{kernel["self_seconds_per_step"]} / limit,
                1, 1e-6);
    floor += limit;
  }
  EXPECT_NEAR(flops / double{json["flops_per_step"]}, 1, 1e-6);
  EXPECT_NEAR(double{json["kernels_floor_seconds_per_step"]} / floor, 1, 1e-6);
  for (const Json& kernel : json["kernels"]) {
    if (kernel["name"] == "embedding") {
      EXPECT_EQ(kernel["calls_per_step"], 4);  // Micro-batches.
    }
  }
  EXPECT_THAT(Names(json["kernels"]),
              IsSupersetOf({"matmul", "attention", "attention_grad", "adamw",
                            "dropout"}));
  EXPECT_EQ(Names(json["phases"]),
            std::set<std::string>(
                {"data", "forward", "backward", "reduce", "update"}));
  double phases = 0;
  for (const Json& phase : json["phases"]) phases += double{phase["share"]};
  EXPECT_GT(phases, 0.5);
  EXPECT_LE(phases, 1 + 1e-6);
}

// The steps are training's own: their bits do not depend on threads, and other
// weights, data or options give others.
TEST_F(BenchCommandTest, StepsTrain) {
  const double loss = StepJson({"--threads", "1"})["last_loss"];
  EXPECT_EQ(StepJson({"--threads", "2"})["last_loss"], loss);
  EXPECT_NE(StepJson({"--warmup", "0"})["last_loss"], loss);
  EXPECT_NE(StepJson({"--set", "data.document_mask=true"})["last_loss"], loss);
}

TEST_F(BenchCommandTest, StepFindsAVocabulary) {
  const auto loss = [&](const Arguments& more) {
    return std::exp(double{StepJson(more)["last_loss"]});
  };
  EXPECT_NEAR(loss({"--set", "model.vocab_size=0", "--set",
                    "data.tokenizer_vocab_size=1000"}),
              1000, 200);
  EXPECT_NEAR(loss({"--set", "model.vocab_size=0"}), 50257, 5000);
}

TEST_F(BenchCommandTest, Tokenizer) {
  WriteTestFile(Path("text.txt"), RandomText(1, 50000));
  for (const Arguments& source : std::vector<Arguments>{
           {"--text", Path("text.txt")}, {"--megabytes", "0.05"}}) {
    Arguments arguments = {"tokenizer", "--vocab-size", "400", "--seconds",
                           "0.01"};
    arguments.insert(arguments.end(), source.begin(), source.end());
    const Json json = BenchJson(arguments);
    EXPECT_NEAR(json["text_bytes"], 50000, 100);
    EXPECT_EQ(json["vocab_size"], 400);
    EXPECT_LT(json["tokens"], 40000);
    EXPECT_GT(json["tokens"], 10000);
    for (const char* part : {"train", "encode", "decode"}) {
      ExpectRate(json["text_bytes"], json[part]["best_seconds"],
                 json[part]["bytes_per_second"]);
      ExpectRate(json["tokens"], json[part]["best_seconds"],
                 json[part]["tokens_per_second"]);
    }
  }
}

TEST_F(BenchCommandTest, Loader) {
  const Json json =
      BenchJson({"loader", "--megabytes", "0.1", "--seconds", "0.01"});
  EXPECT_EQ(json["file_tokens"], 50000);
  const double tokens = json["tokens_per_batch"];
  ExpectRate(1, json["median_batch_seconds"],
             json["median_batches_per_second"]);
  ExpectRate(tokens, json["best_batch_seconds"],
             json["best_tokens_per_second"]);
}

#ifndef __SANITIZE_ADDRESS__
// What `check` promises, on models large enough to outweigh the program.
TEST_F(BenchCommandTest, StepsTakeTheMemoryThatWasPredicted) {
  for (const std::vector<std::string>& fields :
       {Arguments{"batch.micro_batch=8"},
        {"model.hidden_size=384"},
        {"model.layers=4", "compute_dtype=BF16"},
        {"model.layers=5", "compute_dtype=BF16", "model.residual_in_bf16=true"},
        {"model.recompute=BLOCK", "batch.micro_batch=32"},
        {"model.recompute=MLP", "batch.micro_batch=16"},
        {"model.vocab_size=50257", "batch.micro_batch=2"}}) {
    Arguments arguments = {
        "step",     "--config", "configs/quickstart.textproto",
        "--warmup", "0",        "--steps",
        "1",        "--set",    "model.vocab_size=4096"};
    for (const std::string& field : fields) {
      arguments.insert(arguments.end(), {"--set", field});
    }
    const Json json = BenchJson(arguments);
    EXPECT_NEAR(
        double{json["max_resident_bytes"]} / double{json["predicted_bytes"]}, 1,
        0.1)
        << fields[0];
  }
}
#endif

TEST_F(BenchCommandTest, PrintsTables) {
  const Outcome step = Bench({"step", "--config", Path("config.textproto"),
                              "--steps", "1", "--warmup", "1"});
  EXPECT_EQ(step.exit_code, 0) << step.errors;
  for (const char* words :
       {"tokens per second", "share of the f32 matmul peak",
        "memory:", "matmul ", "outside of kernels", "backward "}) {
    EXPECT_THAT(step.output, HasSubstr(words));
  }
  const Outcome loader = Bench({"loader", "--megabytes", "0.1"});
  EXPECT_THAT(loader.output, AllOf(HasSubstr("batches"), HasSubstr("/s")));
  // Columns stand under their heads.
  std::set<size_t> lengths;
  const Outcome gemm =
      Bench({"gemm", "--tokens", "1", "--seconds", "0", "--dtype", "f32"});
  for (const auto line : absl::StrSplit(gemm.output, '\n')) {
    if (!line.empty() && line.substr(0, 4) != "peak") {
      lengths.insert(line.size());
    }
  }
  EXPECT_EQ(lengths.size(), 1) << gemm.output;
}

TEST_F(BenchCommandTest, HelpStartsWithAnExample) {
  const Outcome outcome = RunProcess({"tools/nextword", "bench", "--help"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, StartsWith("Example:\n  nextword bench "));
}

TEST_F(BenchCommandTest, RefusesWhatMakesNoSense) {
  const std::string config = Path("config.textproto");
  ExpectRefusal({"step"}, {"--what step wants a --config"});
  ExpectRefusal({"gemm", "--config", config},
                {"--config is for --what step, not for --what gemm"});
  ExpectRefusal({"loader", "--steps", "3"}, {"--steps is for --what step"});
  ExpectRefusal({"step", "--config", config, "--tokens", "3"},
                {"--tokens is for --what gemm and --what ops"});
  ExpectRefusal({"step", "--config", Path("none")}, {Path("none")});
  ExpectRefusal({"step", "--config", config, "--set", "model.layerz=1"},
                {"model.layerz", "did you mean layers?"});
  ExpectRefusal({"step", "--config", config, "--set", "model.layers=96",
                 "--set", "model.hidden_size=65536"},
                {"training needs about"});
  ExpectRefusal({"tokenizer", "--text", Path("none")}, {Path("none")});
  WriteTestFile(Path("empty.txt"), "");
  ExpectRefusal({"tokenizer", "--text", Path("empty.txt")}, {"is empty"});
  WriteTestFile(Path("short.txt"), "aa");
  ExpectRefusal({"tokenizer", "--text", Path("short.txt")}, {"4096"});
  for (const Arguments& arguments :
       std::vector<Arguments>{{"nothing"},
                              {"gemm", "--dtype", "f16"},
                              {"gemm", "--tokens", "0"},
                              {"step", "--config", config, "--steps", "0"}}) {
    const Outcome outcome = Bench(arguments);
    EXPECT_GT(outcome.exit_code, 1) << arguments.back();
    EXPECT_LT(outcome.exit_code, 128) << arguments.back();
  }
}

TEST_F(BenchCommandTest, LostOutputIsAnError) {
  const Outcome outcome = Bench({"loader", "--megabytes", "0.1", "--json"},
                                {.output_path = "/dev/full"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.errors, HasSubstr("standard output"));
}

}  // namespace
}  // namespace nextword

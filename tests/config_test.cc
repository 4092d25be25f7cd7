// Reading, overriding and checking configs.
#include "configs/config.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "autograd/base/file.h"
#include "configs/batch_config.h"
#include "configs/model_config.h"
#include "configs/nearest_name.h"
#include "configs/validate.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

using ::google::protobuf::TextFormat;
using ::google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A file of the running test that holds `text`.
std::string WriteConfig(const std::string& text) {
  const std::string path = absl::StrCat(
      testing::TempDir(), "/",
      testing::UnitTest::GetInstance()->current_test_info()->name(),
      ".textproto");
  EXPECT_TRUE(WriteFileAtomically(path, text).ok());
  return path;
}

absl::StatusOr<TrainConfig> Load(
    const std::string& text, const std::vector<std::string>& overrides = {}) {
  return LoadTrainConfig(WriteConfig(text), overrides);
}

// The lines of the error that loading gives, without the file's folder.
std::vector<std::string> LoadErrors(
    const std::string& text, const std::vector<std::string>& overrides = {}) {
  const absl::Status status = Load(text, overrides).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  std::vector<std::string> lines;
  for (absl::string_view line : absl::StrSplit(status.message(), '\n')) {
    const size_t slash = line.rfind(".textproto:");
    lines.emplace_back(slash == line.npos ? line : line.substr(slash + 11));
  }
  return lines;
}

// The lines of the error that a config's check gives; none when it is fine.
std::vector<std::string> Contradictions(const std::string& text) {
  TrainConfig config;
  EXPECT_TRUE(TextFormat::ParseFromString(text, &config)) << text;
  const absl::Status status = ValidateTrainConfig(config, ConfigUse::kCheck);
  if (status.ok()) return {};
  return absl::StrSplit(status.message(), '\n');
}

TEST(LoadTrainConfig, ReadsWhatTheLibraryReads) {
  const std::string text = R"(
      # A comment.
      run_dir: "runs/" 'a'  seed: 0x10, threads: 3;
      model: < layers: 2 dropout: .5f bias: f position: ROPE >
      data { source: "a" source: ["b", "c"] held_out_source: [] }
      optimizer { learning_rate: 1e-3 weight_decay: -0.5 }
      schedule { kind: 2 })";
  TrainConfig expected;
  ASSERT_TRUE(TextFormat::ParseFromString(text, &expected));
  const auto config = Load(text);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(MessageDifferencer::Equals(*config, expected))
      << config->DebugString();
  EXPECT_EQ(config->run_dir(), "runs/a");
  EXPECT_EQ(config->data().source_size(), 3);
}

TEST(LoadTrainConfig, ReportsEveryErrorWithPlaceAndSuggestion) {
  EXPECT_THAT(
      LoadErrors("step: 5\n"
                 "model {\n"
                 "  hiden_size: 256\n"
                 "  position: ROPES\n"
                 "  layers: many\n"
                 "  layers: 3000000000\n"
                 "  learning_rate: 1\n"
                 "}\n"
                 "modle { a: 1 b { c: [1, 2] } }\n"
                 "data: 7\n"
                 "seed { x: 1 }\n"
                 "model { }\n"
                 "threads: -1.5",
                 {"model.layer=6", "optimizer.kind=adam", "threads"}),
      ElementsAre(
          "1:1: step: unknown field; did you mean steps?",
          "3:3: model.hiden_size: unknown field; did you mean hidden_size?",
          "4:13: model.position: is ROPES, wanted one of LEARNED, ROPE; did "
          "you mean ROPE?",
          "5:11: model.layers: is many, wanted an integer from -2147483648 to "
          "2147483647",
          "6:11: model.layers: is 3000000000, wanted an integer from "
          "-2147483648 to 2147483647",
          "7:3: model.learning_rate: unknown field; did you mean "
          "optimizer.learning_rate?",
          "9:1: modle: unknown field; did you mean model?",
          "10:7: data: is 7, wanted fields in braces: data { ... }",
          "11:6: seed: is { ..., wanted one value",
          "12:1: model: is given twice",
          "13:10: threads: is -1.5, wanted an integer from -2147483648 to "
          "2147483647",
          "--set model.layer=6: model.layer: unknown field; did you mean "
          "layers?",
          "--set optimizer.kind=adam: optimizer.kind: is adam, wanted one of "
          "ADAMW, SGD, MUON; did you mean ADAMW?",
          "--set threads: wanted PATH=VALUE, seen no '='"));
}

TEST(LoadTrainConfig, ListsTheValidNamesWhenNoneIsNear) {
  EXPECT_THAT(LoadErrors("log { zzzzzzzz: 1 }"),
              ElementsAre("1:7: log.zzzzzzzz: unknown field; valid: every"));
}

TEST(LoadTrainConfig, SlipsOfSyntaxHaveAPlace) {
  EXPECT_THAT(LoadErrors("steps: 5 model { layers: 6"),
              ElementsAre("1:27: wanted a field's name, seen the end of the "
                          "file"));
  EXPECT_THAT(LoadErrors("steps 5"),
              ElementsAre("1:7: wanted ':' after the field's name, seen 5"));
  EXPECT_THAT(LoadErrors("steps: }"),
              ElementsAre("1:8: wanted a value, seen }"));
  EXPECT_THAT(LoadErrors("nothing { a: [ 1"),
              ElementsAre(HasSubstr("nothing: unknown field"),
                          "1:17: wanted a closing bracket, seen the end of "
                          "the file"));
  EXPECT_THAT(LoadErrors("data { source: [\"a\" \"b\" }"),
              ElementsAre("1:25: wanted ',' or ']' in a list, seen }"));
  EXPECT_FALSE(LoadErrors("run_dir: \"no end\n").empty());
}

TEST(LoadTrainConfig, NamesAMissingFile) {
  const absl::Status status =
      LoadTrainConfig("/nowhere/x.textproto", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("/nowhere/x.textproto"));
}

TEST(Overrides, SetEveryKindOfField) {
  const auto config =
      Load("data { source: 'a' } model { layers: 2 }",
           {"model.layers=6", "model.layers = 7", "model.position=ROPE",
            "model.bias=false", "optimizer.learning_rate=1e-3",
            "run_dir=runs/a b=c", "sample.prompt=\"two\\nlines\"",
            "data.source=b", "data.tokens=e", "data.tokens=[c, d]",
            "data.held_out_source=x", "data.held_out_source=[]"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model().layers(), 7);
  EXPECT_EQ(config->model().position(), ROPE);
  EXPECT_FALSE(config->model().bias());
  EXPECT_EQ(config->optimizer().learning_rate(), 1e-3);
  EXPECT_EQ(config->run_dir(), "runs/a b=c");
  EXPECT_EQ(config->sample().prompt(), "two\nlines");
  EXPECT_THAT(config->data().source(), ElementsAre("b"));
  EXPECT_THAT(config->data().tokens(), ElementsAre("c", "d"));
  EXPECT_EQ(config->data().held_out_source_size(), 0);
}

TEST(Overrides, RejectWhatIsNoFieldOrNoValue) {
  EXPECT_THAT(
      LoadErrors("", {"model=6", "steps.x=1", "steps=5 threads: 2", "steps=",
                      "layers=6", "=1", "model.=1", "model.layers=[1,2]"}),
      ElementsAre(
          HasSubstr("model: is 6, wanted fields in braces"),
          HasSubstr("steps: has no fields, so no field x"),
          HasSubstr("steps: is 5 threads: 2, wanted an integer of 64 bits"),
          HasSubstr("steps: is , wanted an integer"),
          HasSubstr("layers: unknown field; did you mean model.layers?"),
          HasSubstr("unknown field"), HasSubstr("model.: unknown field"),
          HasSubstr("model.layers: is [1,2], wanted an integer")));
}

TEST(NearestName, CountsEditsAndNeighboursSwapped) {
  EXPECT_EQ(EditDistance("", "abc"), 3);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(EditDistance("modle", "model"), 1);
  EXPECT_EQ(EditDistance("Rope", "ROPE"), 0);
  EXPECT_EQ(NearestName("lanes", {"layers", "lane", "line"}), "lane");
  EXPECT_EQ(NearestName("xyz", {"layers", "lanes"}), "");
}

TEST(Validate, DefaultsAreFine) {
  EXPECT_THAT(Contradictions(""), ElementsAre());
}

TEST(Validate, ReportsEveryContradictionAtOnce) {
  EXPECT_THAT(
      Contradictions(R"(
          steps: 100 threads: -1
          model { hidden_size: 100 num_heads: 12 kv_heads: 5 dropout: 1 }
          batch { lanes: 6 sequence_length: 2048 micro_batch: 0 }
          optimizer { learning_rate: 0 beta2: 1 clip_norm: -1 epsilon: nan }
          schedule { warmup_steps: 101 final_ratio: 1.5 }
          data { source: "a" tokens: "b" }
          sample { top_p: 0 temperature: inf }
          log { every: 0 })"),
      ElementsAre(
          "threads: is -1, wanted at least 0",
          "model.hidden_size: is 100, wanted a multiple of model.num_heads, "
          "12, or a model.head_dim",
          "model.kv_heads: is 5, wanted a divisor of model.num_heads, 12",
          "model.dropout: is 1, wanted 0 to 1, and less than 1",
          "data.source: and data.tokens are both given, wanted one",
          "data.tokenizer: is empty, wanted the file that data.tokens were "
          "made with",
          "data.held_out_tokens: leaves nothing to evaluate on, wanted "
          "held-out data or evaluation.every 0, which is 250",
          "batch.micro_batch: is 0, wanted at least 1",
          "batch.lanes: is 6, wanted a power of two",
          "batch.sequence_length: is 2048, wanted at most "
          "model.context_length, 1024",
          "optimizer.learning_rate: is 0, wanted a number above 0",
          "optimizer.beta2: is 1, wanted 0 to 1, and less than 1",
          "optimizer.epsilon: is nan, wanted a number above 0",
          "optimizer.clip_norm: is -1, wanted a number not below 0",
          "schedule.final_ratio: is 1.5, wanted 0 to 1",
          "schedule.warmup_steps: is 101 and schedule.decay_steps 0, wanted "
          "at most steps, 100, together",
          "log.every: is 0, wanted at least 1",
          "sample.temperature: is inf, wanted a number not below 0",
          "sample.top_p: is 0, wanted 0 to 1, and more than 0"));
}

// One config per rule, wrong in nothing else.
TEST(Validate, EachRuleAlone) {
  const struct {
    const char* config;
    const char* path;
  } kCases[] = {
      {"model { position: ROPE hidden_size: 36 }", "model.head_dim"},
      {"model { position: ROPE head_dim: 7 }", "model.head_dim"},
      {"model { layers: 0 }", "model.layers"},
      {"cuda_graph: true model { dropout: 0.1 }", "cuda_graph"},
      {"model { residual_in_bf16: true }", "model.residual_in_bf16"},
      {"optimizer { stochastic_rounding: true }",
       "optimizer.stochastic_rounding"},
      {"compute_dtype: FP8 model { mlp_size: 100 }", "compute_dtype"},
      {"compute_dtype: FP8 batch { micro_batch: 1 sequence_length: 8 }",
       "compute_dtype"},
      {"model { num_heads: 0 }", "model.num_heads"},
      {"model { kv_heads: 24 }", "model.kv_heads"},
      {"model { sliding_window: -1 }", "model.sliding_window"},
      {"model { rope_theta: 0 }", "model.rope_theta"},
      {"model { norm_epsilon: -1e-5 }", "model.norm_epsilon"},
      {"model { init_std: nan }", "model.init_std"},
      {"model { hidden_size: 2000000004 }", "model.mlp_size"},
      {"model { num_heads: 65536 head_dim: 65536 }", "model.head_dim"},
      {"model { layers: 2147483647 hidden_size: 12000000 }", "model.layers"},
      {"steps: 9000000000000000000", "batch.lanes"},
      {"batch { lanes: 0 }", "batch.lanes"},
      {"batch { lanes: -2147483648 }", "batch.lanes"},
      {"batch { micro_batches: -1 }", "batch.micro_batches"},
      {"optimizer { beta1: -0.1 }", "optimizer.beta1"},
      {"optimizer { learning_rate: inf }", "optimizer.learning_rate"},
      {"optimizer { weight_decay: nan }", "optimizer.weight_decay"},
      {"optimizer { momentum: 1 }", "optimizer.momentum"},
      {"schedule { decay_steps: 10 }", "schedule.decay_steps"},
      {"schedule { kind: WARMUP_STABLE_DECAY warmup_steps: 600 "
       "decay_steps: 600 }",
       "schedule.warmup_steps"},
      {"schedule { kind: WARMUP_STABLE_DECAY warmup_steps: 1000 "
       "decay_steps: 9223372036854775807 }",
       "schedule.warmup_steps"},
      {"schedule { warmup_steps: -1 }", "schedule.warmup_steps"},
      {"data { source: '' }", "data.source"},
      {"data { held_out_source: 'a' }", "data.held_out_source"},
      {"data { held_out_tokens: 'a' }", "data.held_out_tokens"},
      {"data { tokens: 'a' held_out_tokens: 'b' }", "data.tokenizer"},
      {"data { tokens: 'a' tokenizer: 'b' }", "data.held_out_tokens"},
      {"data { source: 'a' held_out_source: 'b' held_out_fraction: 0.1 }",
       "data.held_out_fraction"},
      {"data { source: 'a' held_out_fraction: 0 }", "data.held_out_fraction"},
      {"data { held_out_fraction: 1 }", "data.held_out_fraction"},
      {"data { tokenizer_vocab_size: 256 }", "data.tokenizer_vocab_size"},
      {"data { source: 'a' } model { vocab_size: 300 }",
       "data.tokenizer_vocab_size"},
      {"evaluation { every: -1 }", "evaluation.every"},
      {"evaluation { max_sequences: -1 }", "evaluation.max_sequences"},
      {"sample { tokens: 0 }", "sample.tokens"},
      {"sample { top_k: -1 }", "sample.top_k"},
      {"checkpoint { every: -1 }", "checkpoint.every"},
      {"checkpoint { keep: -1 }", "checkpoint.keep"},
      {"steps: 0", "steps"},
  };
  for (const auto& [config, path] : kCases) {
    EXPECT_THAT(
        Contradictions(config),
        testing::Contains(testing::StartsWith(absl::StrCat(path, ": "))))
        << config;
  }
}

TEST(Validate, WhatLooksOddButIsFine) {
  for (const char* config : {
           "model { hidden_size: 100 num_heads: 3 head_dim: 8 }",
           "model { position: ROPE hidden_size: 96 num_heads: 12 }",
           "steps: 10 schedule { kind: WARMUP_STABLE_DECAY warmup_steps: 4 "
           "decay_steps: 6 }",
           "data { source: 'a' held_out_fraction: 0 } evaluation { every: 0 }",
           "data { tokens: 'a' tokenizer: 'b' held_out_tokens: 'c' }",
           "data { source: 'a' tokenizer: 'b' } model { vocab_size: 300 }",
           "optimizer { weight_decay: 0 clip_norm: 0 beta1: 0 }",
           "batch { lanes: 1073741824 }",
       }) {
    EXPECT_THAT(Contradictions(config), ElementsAre()) << config;
  }
}

TEST(Validate, TrainingNeedsAFolderAndData) {
  const absl::Status status =
      ValidateTrainConfig(TrainConfig(), ConfigUse::kTrain);
  EXPECT_THAT(status.message(), HasSubstr("run_dir: is empty"));
  EXPECT_THAT(status.message(), HasSubstr("data: has neither"));
}

TEST(ResolveModel, FillsInTheZeros) {
  ModelConfig model;
  ASSERT_TRUE(TextFormat::ParseFromString(
      "hidden_size: 256 num_heads: 4 activation: SWIGLU", &model));
  auto resolved = ResolveModel(model, 4096);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->kv_heads(), 4);
  EXPECT_EQ(resolved->head_dim(), 64);
  EXPECT_EQ(resolved->mlp_size(), 704);  // 682.67 rounded up.
  EXPECT_EQ(resolved->vocab_size(), 4096);

  model.set_hidden_size(384);
  EXPECT_EQ(ResolveModel(model, 1)->mlp_size(), 1024);  // 8/3 * 384, exactly.
  model.set_activation(GELU);
  EXPECT_EQ(ResolveModel(model, 1)->mlp_size(), 4 * 384);

  model.set_kv_heads(2);
  model.set_head_dim(10);
  model.set_mlp_size(100);
  model.set_vocab_size(5000);
  resolved = ResolveModel(model, 4096);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_TRUE(MessageDifferencer::Equals(*resolved, model));
}

TEST(ResolveModel, NeedsAVocabularyThatHoldsTheTokenizers) {
  ModelConfig model;
  EXPECT_THAT(ResolveModel(model, 0).status().message(),
              HasSubstr("model.vocab_size: is 0"));
  model.set_vocab_size(4095);
  EXPECT_THAT(ResolveModel(model, 4096).status().message(),
              HasSubstr("model.vocab_size: is 4095, wanted 4096"));
  EXPECT_TRUE(ResolveModel(model, 0).ok());
  model.set_layers(0);
  EXPECT_THAT(ResolveModel(model, 0).status().message(),
              HasSubstr("model.layers: is 0"));
}

// Parameters of a decoder, by hand from its published shape.
int64_t CountParameters(const ModelConfig& m) {
  const int64_t d = m.hidden_size();
  const int64_t q = int64_t{m.num_heads()} * m.head_dim();
  const int64_t kv = int64_t{m.kv_heads()} * m.head_dim();
  const int64_t f = m.mlp_size();
  const int64_t inputs = m.activation() == SWIGLU ? 2 : 1;
  int64_t block = d * (q + 2 * kv) + q * d + (inputs + 1) * d * f + 2 * d;
  if (m.bias()) block += (q + 2 * kv) + d + inputs * f + d;
  const bool norm_bias = m.bias() && m.norm() == LAYER_NORM;
  if (norm_bias) block += 2 * d;
  const int64_t positions = m.position() == LEARNED ? m.context_length() : 0;
  const int64_t tables = m.vocab_size() * (m.tied_embeddings() ? 1 : 2);
  return m.layers() * block + (positions + tables) * d +
         d * (norm_bias ? 2 : 1);
}

TEST(ReadyConfigs, AreFineAndHaveTheirPublishedSizes) {
  const struct {
    const char* name;
    ConfigUse use;
    int64_t parameters;
    int64_t tokens_per_step;
  } kCases[] = {
      {"quickstart", ConfigUse::kTrain, 0, 0},
      {"gpt2_124m", ConfigUse::kTrain, 124439808, 524288},
      {"gpt2_1558m", ConfigUse::kTrain, 1557611200, 1048576},
      {"gpt3_175b", ConfigUse::kCheck, 174604259328, 3276800},
      {"llama_8b", ConfigUse::kCheck, 8030261248, 4194304},
  };
  for (const auto& [name, use, parameters, tokens_per_step] : kCases) {
    SCOPED_TRACE(name);
    const auto config =
        LoadTrainConfig(absl::StrCat("configs/", name, ".textproto"), {});
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_TRUE(ValidateTrainConfig(*config, use).ok())
        << ValidateTrainConfig(*config, use);
    if (parameters == 0) continue;  // Tuned by measurement.
    const auto model = ResolveModel(config->model(), 0);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(CountParameters(*model), parameters);
    EXPECT_EQ(TokensPerStep(config->batch(), *model), tokens_per_step);
  }
}

TEST(ConfigReference, IsUpToDate) {
  const auto generated = ReadFile("configs/config_reference.md");
  const auto committed = ReadFile("docs/config_reference.md");
  ASSERT_TRUE(generated.ok()) << generated.status();
  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_TRUE(*generated == *committed)
      << "docs/config_reference.md is stale; its first lines tell how to make "
         "it again.";
  EXPECT_THAT(*generated, HasSubstr("| `model.layers` | int32 | `12` |"));
}

}  // namespace
}  // namespace nextword

#include "configs/validate.h"

#include <bit>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "configs/batch_config.h"
#include "configs/config_errors.h"
#include "configs/field_checks.h"
#include "configs/model_config.h"

namespace nextword {
namespace {

// 256 bytes and the end of a document.
constexpr int kSmallestVocabulary = 257;

// Whether a * b fits 64 bits, for a and b above 0; if so, a becomes a * b.
bool MultiplyInto(int64_t* a, int64_t b) {
  return !__builtin_mul_overflow(*a, b, a);
}

void CheckTokens(const TrainConfig& config, FieldChecks* checks) {
  const BatchConfig& batch = config.batch();
  int64_t tokens = SequenceLength(batch, config.model());
  if (!MultiplyInto(&tokens, batch.micro_batch()) ||
      !MultiplyInto(&tokens, batch.micro_batches()) ||
      !MultiplyInto(&tokens, batch.lanes()) ||
      !MultiplyInto(&tokens, config.steps())) {
    checks->Fail("lanes",
                 "times micro_batches, micro_batch, sequence_length and steps "
                 "is above 2^63, wanted a run of fewer tokens");
  }
}

void CheckBatch(const TrainConfig& config, ConfigErrors* errors) {
  const BatchConfig& batch = config.batch();
  FieldChecks checks("batch", errors);
  bool fine = checks.AtLeast("micro_batch", batch.micro_batch(), 1);
  fine &= checks.AtLeast("micro_batches", batch.micro_batches(), 1);
  if (batch.lanes() < 1 ||
      !std::has_single_bit(static_cast<uint32_t>(batch.lanes()))) {
    checks.Fail("lanes",
                absl::StrCat("is ", batch.lanes(), ", wanted a power of two"));
    fine = false;
  }
  fine &= checks.AtLeast("sequence_length", batch.sequence_length(), 0);
  if (batch.sequence_length() > config.model().context_length()) {
    checks.Fail("sequence_length",
                absl::StrCat("is ", batch.sequence_length(),
                             ", wanted at most model.context_length, ",
                             config.model().context_length()));
  }
  if (fine && config.steps() > 0 && config.model().context_length() > 0) {
    CheckTokens(config, &checks);
  }
}

// GPUs multiply packs of eight-bit floats.
void CheckQuantized(const TrainConfig& config, FieldChecks* checks) {
  constexpr int64_t kPack = 16;
  // Sizes do not depend on the vocabulary's.
  const absl::StatusOr<ModelConfig> model = ResolveModel(config.model(), 1);
  const ComputeDType dtype = config.compute_dtype();
  if ((dtype != FP8 && dtype != FP8_HYBRID) || !model.ok()) return;
  const int64_t head_dim = model->head_dim();
  const std::pair<const char*, int64_t> sizes[] = {
      {"model.hidden_size", model->hidden_size()},
      {"model.mlp_size", model->mlp_size()},
      {"model.num_heads times head_dim", model->num_heads() * head_dim},
      {"model.kv_heads times head_dim", model->kv_heads() * head_dim},
      {"batch.micro_batch times sequence_length",
       int64_t{config.batch().micro_batch()} *
           SequenceLength(config.batch(), *model)}};
  for (const auto& [name, size] : sizes) {
    if (size % kPack == 0) continue;
    checks->Fail("compute_dtype",
                 absl::StrCat("is ", ComputeDType_Name(dtype), ", but ", name,
                              " is ", size, ", wanted a multiple of ", kPack));
  }
}

void CheckOptimizer(const OptimizerConfig& optimizer, ConfigErrors* errors) {
  FieldChecks checks("optimizer", errors);
  checks.Positive("learning_rate", optimizer.learning_rate());
  checks.ShareBelowOne("beta1", optimizer.beta1());
  checks.ShareBelowOne("beta2", optimizer.beta2());
  checks.Positive("epsilon", optimizer.epsilon());
  checks.NotNegative("weight_decay", optimizer.weight_decay());
  checks.ShareBelowOne("momentum", optimizer.momentum());
  checks.ShareBelowOne("muon_momentum", optimizer.muon_momentum());
  checks.NotNegative("clip_norm", optimizer.clip_norm());
}

void CheckSchedule(const TrainConfig& config, ConfigErrors* errors) {
  const ScheduleConfig& schedule = config.schedule();
  FieldChecks checks("schedule", errors);
  checks.Share("final_ratio", schedule.final_ratio());
  bool fine = checks.AtLeast("warmup_steps", schedule.warmup_steps(), 0);
  fine &= checks.AtLeast("decay_steps", schedule.decay_steps(), 0);
  if (!fine) return;
  if (schedule.decay_steps() > 0 && schedule.kind() != WARMUP_STABLE_DECAY) {
    checks.Fail(
        "decay_steps",
        absl::StrCat("is ", schedule.decay_steps(), ", but schedule.kind ",
                     ScheduleKind_Name(schedule.kind()),
                     " decays without it; WARMUP_STABLE_DECAY uses it"));
  }
  // Not the sum of the two, which may not fit 64 bits.
  if (schedule.warmup_steps() > config.steps() ||
      schedule.decay_steps() > config.steps() - schedule.warmup_steps()) {
    checks.Fail(
        "warmup_steps",
        absl::StrCat("is ", schedule.warmup_steps(),
                     " and schedule.decay_steps ", schedule.decay_steps(),
                     ", wanted at most steps, ", config.steps(), ", together"));
  }
}

void CheckNotEmpty(absl::string_view name,
                   const google::protobuf::RepeatedPtrField<std::string>& paths,
                   FieldChecks* checks) {
  for (const std::string& path : paths) {
    if (path.empty()) checks->Fail(name, "has an empty path");
  }
}

// Raw text and token files exclude each other.
void CheckOrigin(const DataConfig& data, FieldChecks* checks) {
  const bool has_text = data.source_size() > 0;
  const bool has_tokens = data.tokens_size() > 0;
  if (has_text && has_tokens) {
    checks->Fail("source", "and data.tokens are both given, wanted one");
  }
  if (data.held_out_source_size() > 0 && !has_text) {
    checks->Fail("held_out_source", "is given without data.source");
  }
  if (data.held_out_tokens_size() > 0 && !has_tokens) {
    checks->Fail("held_out_tokens", "is given without data.tokens");
  }
  if (has_tokens && data.tokenizer().empty()) {
    checks->Fail("tokenizer",
                 "is empty, wanted the file that data.tokens were made with");
  }
}

void CheckHeldOut(const TrainConfig& config, FieldChecks* checks) {
  const DataConfig& data = config.data();
  checks->ShareBelowOne("held_out_fraction", data.held_out_fraction());
  if (data.held_out_source_size() > 0 && data.has_held_out_fraction()) {
    checks->Fail("held_out_fraction",
                 "and data.held_out_source are both given, wanted one");
  }
  if (config.evaluation().every() == 0) return;
  const bool no_text = data.source_size() > 0 &&
                       data.held_out_source_size() == 0 &&
                       data.held_out_fraction() == 0;
  const bool no_tokens =
      data.tokens_size() > 0 && data.held_out_tokens_size() == 0;
  if (no_text || no_tokens) {
    checks->Fail(no_text ? "held_out_fraction" : "held_out_tokens",
                 absl::StrCat("leaves nothing to evaluate on, wanted held-out "
                              "data or evaluation.every 0, which is ",
                              config.evaluation().every()));
  }
}

void CheckVocabulary(const TrainConfig& config, FieldChecks* checks) {
  const int32_t size = config.data().tokenizer_vocab_size();
  checks->AtLeast("tokenizer_vocab_size", size, kSmallestVocabulary);
  const bool trained_here =
      config.data().source_size() > 0 && config.data().tokenizer().empty();
  const int32_t vocab_size = config.model().vocab_size();
  if (trained_here && vocab_size > 0 && size > vocab_size) {
    checks->Fail(
        "tokenizer_vocab_size",
        absl::StrCat("is ", size, ", wanted at most model.vocab_size, ",
                     vocab_size));
  }
}

void CheckData(const TrainConfig& config, ConfigErrors* errors) {
  const DataConfig& data = config.data();
  FieldChecks checks("data", errors);
  CheckOrigin(data, &checks);
  CheckNotEmpty("source", data.source(), &checks);
  CheckNotEmpty("held_out_source", data.held_out_source(), &checks);
  CheckNotEmpty("tokens", data.tokens(), &checks);
  CheckNotEmpty("held_out_tokens", data.held_out_tokens(), &checks);
  CheckHeldOut(config, &checks);
  CheckVocabulary(config, &checks);
}

void CheckSample(const SampleConfig& sample, ConfigErrors* errors) {
  FieldChecks checks("sample", errors);
  checks.AtLeast("every", sample.every(), 0);
  checks.AtLeast("tokens", sample.tokens(), 1);
  checks.NotNegative("temperature", sample.temperature());
  checks.AtLeast("top_k", sample.top_k(), 0);
  checks.ShareAboveZero("top_p", sample.top_p());
}

void CheckIntervals(const TrainConfig& config, ConfigErrors* errors) {
  FieldChecks evaluation("evaluation", errors);
  evaluation.AtLeast("every", config.evaluation().every(), 0);
  evaluation.AtLeast("max_sequences", config.evaluation().max_sequences(), 0);
  FieldChecks checkpoint("checkpoint", errors);
  checkpoint.AtLeast("every", config.checkpoint().every(), 0);
  checkpoint.AtLeast("keep", config.checkpoint().keep(), 0);
  checkpoint.AtLeast("keep_every", config.checkpoint().keep_every(), 0);
  checkpoint.AtLeast("keep_best", config.checkpoint().keep_best(), 0);
  FieldChecks("log", errors).AtLeast("every", config.log().every(), 1);
}

void CheckStability(const TrainConfig& config, ConfigErrors* errors) {
  const StabilityConfig& stability = config.stability();
  FieldChecks checks("stability", errors);
  checks.AtLeast("max_skipped_steps", stability.max_skipped_steps(), 1);
  checks.AtLeast("spike_window", stability.spike_window(), 0);
  checks.Positive("spike_z_score", stability.spike_z_score());
  checks.AtLeast("max_rollbacks", stability.max_rollbacks(), 1);
  if (stability.spike_window() == 1) {
    checks.Fail("spike_window",
                "is 1, wanted 0 for no rollbacks, or 2 or more, which have a "
                "standard deviation");
  }
  if (stability.spike_window() > 0 && config.checkpoint().every() == 0) {
    checks.Fail("spike_window",
                absl::StrCat("is ", stability.spike_window(),
                             ", but there is no checkpoint to go back to with "
                             "checkpoint.every 0"));
  }
}

void CheckDistributed(const TrainConfig& config, ConfigErrors* errors) {
  const DistributedConfig& distributed = config.distributed();
  FieldChecks checks("distributed", errors);
  checks.AtLeast("shard_ranks", distributed.shard_ranks(), 0);
  checks.AtLeast("bucket_mb", distributed.bucket_mb(), 1);
  checks.AtLeast("timeout_seconds", distributed.timeout_seconds(), 1);
  if (distributed.sharding() != NONE && config.optimizer().kind() == MUON) {
    checks.Fail("sharding",
                absl::StrCat("is ", Sharding_Name(distributed.sharding()),
                             ", but optimizer.kind MUON updates whole "
                             "matrices, wanted NONE"));
  }
}

void CheckWhatTrainNeeds(const TrainConfig& config, FieldChecks* checks) {
  if (config.run_dir().empty()) {
    checks->Fail("run_dir", "is empty, wanted the folder of the run");
  }
  if (config.data().source_size() == 0 && config.data().tokens_size() == 0) {
    checks->Fail("data", "has neither source nor tokens, wanted one");
  }
}

}  // namespace

absl::Status ValidateTrainConfig(const TrainConfig& config, ConfigUse use) {
  ConfigErrors errors;
  FieldChecks checks("", &errors);
  if (use == ConfigUse::kTrain) CheckWhatTrainNeeds(config, &checks);
  checks.AtLeast("threads", config.threads(), 0);
  if (config.threads() > 1024) {
    checks.Fail("threads",
                absl::StrCat("is ", config.threads(), ", wanted at most 1024"));
  }
  checks.AtLeast("steps", config.steps(), 1);
  if (config.cuda_graph() && config.model().dropout() > 0) {
    checks.Fail(
        "cuda_graph",
        absl::StrCat("is true, but model.dropout is ", config.model().dropout(),
                     ", which a graph would repeat, wanted 0"));
  }
  const auto check_mixed = [&](const char* field, bool on) {
    if (!on ||
        (config.compute_dtype() != F32 && config.compute_dtype() != TF32)) {
      return;
    }
    checks.Fail(field, absl::StrCat("is true, but compute_dtype is ",
                                    ComputeDType_Name(config.compute_dtype()),
                                    ", wanted BF16 or FP8"));
  };
  check_mixed("model.residual_in_bf16", config.model().residual_in_bf16());
  check_mixed("optimizer.stochastic_rounding",
              config.optimizer().stochastic_rounding());
  CheckModel(config.model(), &errors);
  CheckQuantized(config, &checks);
  CheckData(config, &errors);
  CheckBatch(config, &errors);
  CheckOptimizer(config.optimizer(), &errors);
  CheckSchedule(config, &errors);
  CheckStability(config, &errors);
  CheckIntervals(config, &errors);
  CheckSample(config.sample(), &errors);
  CheckDistributed(config, &errors);
  return errors.ToStatus();
}

}  // namespace nextword

#include "configs/model_config.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"
#include "configs/field_checks.h"

namespace nextword {
namespace {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

// Weights, moments and gradients of fewer parameters have sizes in bytes that
// fit 64 bits.
const double kMaxParameters = std::ldexp(1.0, 58);

int64_t KvHeads(const ModelConfig& model) {
  return model.kv_heads() > 0 ? model.kv_heads() : model.num_heads();
}

int64_t HeadDim(const ModelConfig& model) {
  return model.head_dim() > 0 ? model.head_dim()
                              : model.hidden_size() / model.num_heads();
}

int64_t MlpSize(const ModelConfig& model) {
  if (model.mlp_size() > 0) return model.mlp_size();
  const int64_t hidden_size = model.hidden_size();
  if (model.activation() != SWIGLU) return 4 * hidden_size;
  // SWIGLU has three matrices where the others have two: 8/3 keeps the count.
  constexpr int64_t kMultiple = 64;
  const int64_t divisor = 3 * kMultiple;
  return (8 * hidden_size + divisor - 1) / divisor * kMultiple;
}

bool CheckSizes(const ModelConfig& model, FieldChecks* checks) {
  bool fine = checks->AtLeast("layers", model.layers(), 1);
  fine &= checks->AtLeast("hidden_size", model.hidden_size(), 1);
  fine &= checks->AtLeast("num_heads", model.num_heads(), 1);
  fine &= checks->AtLeast("kv_heads", model.kv_heads(), 0);
  fine &= checks->AtLeast("head_dim", model.head_dim(), 0);
  fine &= checks->AtLeast("mlp_size", model.mlp_size(), 0);
  fine &= checks->AtLeast("context_length", model.context_length(), 1);
  fine &= checks->AtLeast("vocab_size", model.vocab_size(), 0);
  fine &= checks->AtLeast("sliding_window", model.sliding_window(), 0);
  return fine;
}

void CheckHeads(const ModelConfig& model, FieldChecks* checks) {
  if (model.head_dim() == 0 && model.hidden_size() % model.num_heads() != 0) {
    checks->Fail("hidden_size",
                 absl::StrCat("is ", model.hidden_size(),
                              ", wanted a multiple of model.num_heads, ",
                              model.num_heads(), ", or a model.head_dim"));
  } else if (model.position() == ROPE && HeadDim(model) % 2 != 0) {
    checks->Fail("head_dim",
                 absl::StrCat("is ", HeadDim(model),
                              ", wanted an even size, for model.position ROPE "
                              "turns pairs"));
  }
  if (model.num_heads() % KvHeads(model) != 0) {
    checks->Fail("kv_heads",
                 absl::StrCat("is ", model.kv_heads(),
                              ", wanted a divisor of model.num_heads, ",
                              model.num_heads()));
  }
}

// Sizes that are computed from others must fit their types.
void CheckProducts(const ModelConfig& model, FieldChecks* checks) {
  const int64_t heads_size = model.num_heads() * HeadDim(model);
  if (heads_size > kMaxInt32) {
    checks->Fail("head_dim",
                 absl::StrCat("times model.num_heads is ", heads_size,
                              ", wanted at most ", kMaxInt32));
  }
  if (MlpSize(model) > kMaxInt32) {
    checks->Fail(
        "mlp_size",
        absl::StrCat("is ", MlpSize(model), " for model.hidden_size ",
                     model.hidden_size(), ", wanted at most ", kMaxInt32));
  }
  const double hidden_size = model.hidden_size();
  const double per_block = 2.0 * heads_size +
                           2.0 * KvHeads(model) * HeadDim(model) +
                           3.0 * MlpSize(model);
  const double parameters =
      hidden_size * (model.layers() * per_block + 2.0 * model.vocab_size() +
                     model.context_length());
  if (parameters > kMaxParameters) {
    checks->Fail("layers",
                 absl::StrCat("and sizes make ", parameters,
                              " parameters, wanted at most ", kMaxParameters));
  }
}

}  // namespace

void CheckModel(const ModelConfig& model, ConfigErrors* errors) {
  FieldChecks checks("model", errors);
  if (CheckSizes(model, &checks)) {
    CheckHeads(model, &checks);
    CheckProducts(model, &checks);
  }
  checks.Positive("rope_theta", model.rope_theta());
  checks.Positive("norm_epsilon", model.norm_epsilon());
  checks.ShareBelowOne("dropout", model.dropout());
  checks.Positive("init_std", model.init_std());
}

absl::Status ValidateModel(const ModelConfig& model) {
  ConfigErrors errors;
  CheckModel(model, &errors);
  return errors.ToStatus();
}

absl::StatusOr<ModelConfig> ResolveModel(const ModelConfig& model,
                                         int64_t tokenizer_size) {
  NW_RETURN_IF_ERROR(ValidateModel(model));
  const int64_t vocab_size =
      model.vocab_size() > 0 ? model.vocab_size() : tokenizer_size;
  if (vocab_size < 1) {
    return absl::InvalidArgumentError(
        "model.vocab_size: is 0, wanted a size, for there is no tokenizer to "
        "take it from");
  }
  if (vocab_size < tokenizer_size || vocab_size > kMaxInt32) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.vocab_size: is ", vocab_size, ", wanted ",
                     tokenizer_size, " (the tokenizer's size) to ", kMaxInt32));
  }
  ModelConfig resolved = model;
  resolved.set_kv_heads(static_cast<int32_t>(KvHeads(model)));
  resolved.set_head_dim(static_cast<int32_t>(HeadDim(model)));
  resolved.set_mlp_size(static_cast<int32_t>(MlpSize(model)));
  resolved.set_vocab_size(static_cast<int32_t>(vocab_size));
  return resolved;
}

}  // namespace nextword

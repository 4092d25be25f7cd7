#include "layers/generator.h"

#include <algorithm>

#include "autograd/base/check.h"
#include "autograd/variable.h"

namespace nextword::layers {
namespace {

// Room for a whole context, with the dtype and the place of the weights.
KvCache MakeCache(const Transformer& model) {
  const Variable weight = model.NamedParameters().front().variable;
  return KvCache(model.config(), 1, model.config().context_length(),
                 weight.dtype(), weight.device());
}

}  // namespace

Generator::Generator(const Transformer* model, int32_t vocab_size,
                     const SamplerOptions& options)
    : model_(model),
      vocab_size_(vocab_size),
      options_(options),
      cache_(MakeCache(*model)) {}

void Generator::Generate(const std::vector<int32_t>& prompt, int64_t count,
                         const std::function<bool(int32_t)>& emit) {
  NW_CHECK(!prompt.empty()) << "generation from an empty prompt";
  const size_t context = cache_.capacity();
  std::vector<int32_t> text = prompt;
  cache_.Clear();
  size_t seen = 0;  // Tokens of the text that the cache stands for.
  for (int64_t i = 0; i < count; ++i) {
    const bool fits = cache_.length() + (text.size() - seen) <= context;
    if (!fits) {
      cache_.Clear();
      seen =
          text.size() - std::min(text.size(), std::max<size_t>(1, context / 2));
    }
    const std::vector<int32_t> unseen(text.begin() + seen, text.end());
    seen = text.size();
    text.push_back(Next(unseen, text.size()));
    if (!emit(text.back())) return;
  }
}

int32_t Generator::Next(const std::vector<int32_t>& ids, uint64_t position) {
  const NoGradScope no_grad;
  const int64_t length = static_cast<int64_t>(ids.size());
  const ForwardContext context{.cache = &cache_};
  const Variable hidden =
      model_->Hidden(FromVector(ids, {1, length}, model_->device()), context);
  const Tensor last =
      hidden.value().Reshape({length, hidden.dim(-1)}).Rows(length - 1, length);
  return SampleToken(model_->Logits(Variable(last)).value(), options_, position,
                     vocab_size_);
}

}  // namespace nextword::layers

#include "layers/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/tensor/philox.h"

namespace nextword::layers {
namespace {

// Ids by falling logit; only the first top_k when that is positive.
std::vector<int32_t> RankIds(absl::Span<const float> logits, int32_t top_k) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto better = [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  const size_t keep =
      top_k > 0 ? std::min<size_t>(top_k, ids.size()) : ids.size();
  std::partial_sort(ids.begin(), ids.begin() + keep, ids.end(), better);
  ids.resize(keep);
  return ids;
}

// A number in [0, 1) for one position of one text.
double UniformAt(uint64_t seed, uint64_t position) {
  const PhiloxBlock words =
      RandomWords(RandomKey{.seed = seed, .step = position}, 0);
  return std::ldexp(static_cast<double>(words.v[0]), -32);
}

}  // namespace

int32_t SampleToken(absl::Span<const float> logits,
                    const SamplerOptions& options, uint64_t position,
                    int32_t limit) {
  if (limit > 0) logits = logits.subspan(0, limit);
  NW_CHECK(!logits.empty()) << "sampling from no tokens";
  if (options.temperature <= 0) return RankIds(logits, 1).front();

  const std::vector<int32_t> ids = RankIds(logits, options.top_k);
  std::vector<double> weights;
  double total = 0;
  for (int32_t id : ids) {
    const double score = (static_cast<double>(logits[id]) - logits[ids[0]]) /
                         options.temperature;
    weights.push_back(std::exp(score));
    total += weights.back();
  }
  double kept = 0;
  size_t count = 0;
  while (count < weights.size() &&
         (count == 0 || kept < options.top_p * total)) {
    kept += weights[count++];
  }
  double rest = UniformAt(options.seed, position) * kept;
  for (size_t i = 0; i < count; ++i) {
    rest -= weights[i];
    if (rest < 0) return ids[i];
  }
  return ids[count - 1];
}

}  // namespace nextword::layers

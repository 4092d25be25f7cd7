// Drawing tokens.
#include <algorithm>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/base/parallel.h"
#include "autograd/kernels/kernels.h"
#include "autograd/kernels/sampling.h"

namespace nextword::kernels {
namespace {

// Calls value(i) for elements to be looked at in each round.
template <typename F>
SamplingCut FindCut(const std::vector<uint32_t>& ranks, uint64_t target,
                    const F& value) {
  SamplingCutSearch search = SamplingCutSearch::For(target);
  for (int round = 0; round < SamplingCutSearch::kRounds; ++round) {
    uint64_t sums[SamplingCutSearch::kBins] = {};
    for (size_t i = 0; i < ranks.size(); ++i) {
      const int bin = search.BinOf(ranks[i]);
      if (bin >= 0) sums[bin] += value(i);
    }
    search.Descend(sums);
  }
  const auto tie = std::find(ranks.begin(), ranks.end(), search.rank);
  return search.Cut(value(tie - ranks.begin()));
}

// Zeroes the weights of what a cut does not keep. Returns the others' sum.
uint64_t Apply(const SamplingCut& cut, const std::vector<uint32_t>& ranks,
               std::vector<uint64_t>* weights) {
  uint64_t ties = 0, sum = 0;
  for (size_t i = 0; i < ranks.size(); ++i) {
    const bool kept =
        ranks[i] > cut.rank || (ranks[i] == cut.rank && ties++ < cut.ties);
    if (!kept) (*weights)[i] = 0;
    sum += (*weights)[i];
  }
  return sum;
}

int32_t SampleRow(const float* scores, int64_t count,
                  const SampleParams& params, uint32_t random) {
  std::vector<uint32_t> ranks(count);
  for (int64_t i = 0; i < count; ++i) ranks[i] = RankOf(scores[i]);
  const int32_t best = static_cast<int32_t>(
      std::max_element(ranks.begin(), ranks.end()) - ranks.begin());
  if (params.temperature <= 0) return best;

  SamplingCut cut;
  if (params.top_k > 0 && params.top_k < count) {
    cut = FindCut(ranks, static_cast<uint64_t>(params.top_k),
                  [](size_t) { return uint64_t{1}; });
  }
  std::vector<uint64_t> weights(count);
  for (int64_t i = 0; i < count; ++i) {
    if (ranks[i] < cut.rank) continue;
    weights[i] = WeightOf(scores[i], scores[best], params.temperature);
  }
  uint64_t total = Apply(cut, ranks, &weights);
  if (total == 0) return best;
  if (params.top_p < 1) {
    cut = FindCut(ranks, ShareOf(params.top_p, total),
                  [&](size_t i) { return weights[i]; });
    total = Apply(cut, ranks, &weights);
  }
  uint64_t rest = PickBelow(total, random);
  int32_t id = 0;
  while (rest >= weights[id]) rest -= weights[id++];
  return id;
}

void Sample(In logits, const SampleParams& params, Out ids) {
  const int64_t columns = logits.dim(-1);
  const int64_t count = params.limit > 0 ? params.limit : columns;
  NW_CHECK(count > 0 && count <= columns) << "sample " << count << " tokens";
  const float* const scores = logits.data<float>();
  int32_t* const out = ids->data<int32_t>();
  ParallelForEach(logits.dim(0), [=, &params](int64_t row) {
    const PhiloxBlock words =
        RandomWords(params.key, static_cast<uint32_t>(row));
    out[row] = SampleRow(scores + row * columns, count, params, words.v[0]);
  });
}

[[maybe_unused]] const bool registered =
    sample.Register(DeviceType::kCpu, Sample);

}  // namespace
}  // namespace nextword::kernels

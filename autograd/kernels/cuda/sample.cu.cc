// Drawing tokens: one block per row, which reads the row a dozen times, from
// caches. All sums are of integers, whose order does not matter.
#include "autograd/kernels/cuda/device_loops.h"
#include "autograd/kernels/cuda/launch.h"
#include "autograd/kernels/sampling.h"

namespace nextword::kernels::cuda {
namespace {

constexpr int kThreadsPerRow = 1024;

// The sum of the values of the threads before this one; `total` that of all.
NW_DEVICE uint64_t SumBefore(uint64_t value, uint64_t* total) {
  __shared__ uint64_t sums[kThreadsPerRow];
  const unsigned thread = threadIdx.x;
  __syncthreads();  // All have read the result of the call before.
  sums[thread] = value;
  for (unsigned step = 1; step < blockDim.x; step *= 2) {
    __syncthreads();
    const uint64_t sum =
        sums[thread] + (thread >= step ? sums[thread - step] : 0);
    __syncthreads();
    sums[thread] = sum;
  }
  __syncthreads();
  *total = sums[blockDim.x - 1];
  return sums[thread] - value;
}

// What a block knows of its row.
struct Row {
  const float* scores;
  uint64_t* weights;
  int64_t count;

  NW_DEVICE uint32_t rank(int64_t i) const { return RankOf(scores[i]); }
};

// Calls value(i) for elements to be looked at in each round.
template <typename F>
NW_DEVICE SamplingCut FindCut(const Row& row, uint64_t target, const F& value) {
  __shared__ SamplingCutSearch search;
  __shared__ uint64_t sums[SamplingCutSearch::kBins];
  __shared__ uint64_t tie;
  __syncthreads();  // All have read the result of the call before.
  if (threadIdx.x == 0) search = SamplingCutSearch::For(target);
  for (int round = 0; round < SamplingCutSearch::kRounds; ++round) {
    ForEachInBlock(SamplingCutSearch::kBins,
                   [&](int64_t bin) { sums[bin] = 0; });
    __syncthreads();
    ForEachInBlock(row.count, [&](int64_t i) {
      const int bin = search.BinOf(row.rank(i));
      if (bin < 0) return;
      atomicAdd(reinterpret_cast<unsigned long long*>(&sums[bin]),
                static_cast<unsigned long long>(value(i)));
    });
    __syncthreads();
    if (threadIdx.x == 0) search.Descend(sums);
    __syncthreads();
  }
  // Ties weigh the same, but for those that were cut away before.
  if (threadIdx.x == 0) tie = 0;
  __syncthreads();
  ForEachInBlock(row.count, [&](int64_t i) {
    if (row.rank(i) != search.rank || value(i) == 0) return;
    atomicMax(reinterpret_cast<unsigned long long*>(&tie),
              static_cast<unsigned long long>(value(i)));
  });
  __syncthreads();
  return search.Cut(tie);
}

// The ids of a thread where their order matters.
struct Part {
  NW_DEVICE explicit Part(int64_t count) {
    const int64_t size = (count + blockDim.x - 1) / blockDim.x;
    begin = size * threadIdx.x;
    end = begin + size < count ? begin + size : count;
  }

  int64_t begin, end;
};

// Zeroes the weights of what a cut does not keep. Returns the sum of the
// others, and in `before` that of other threads' parts before this one's.
NW_DEVICE uint64_t Apply(const SamplingCut& cut, const Row& row,
                         uint64_t* before) {
  const Part part(row.count);
  uint64_t ties = 0, all_ties = 0, sum = 0, total = 0;
  for (int64_t i = part.begin; i < part.end; ++i) {
    if (row.rank(i) == cut.rank) ++ties;
  }
  ties = SumBefore(ties, &all_ties);
  for (int64_t i = part.begin; i < part.end; ++i) {
    const uint32_t rank = row.rank(i);
    const bool kept =
        rank > cut.rank || (rank == cut.rank && ties++ < cut.ties);
    if (!kept) row.weights[i] = 0;
    sum += row.weights[i];
  }
  *before = SumBefore(sum, &total);
  return total;
}

NW_DEVICE void SampleRow(const Row& row, const SampleParams& params,
                         uint32_t random, int32_t* id) {
  // The first of the best: the largest of ranks, then of complements of ids.
  uint64_t mine = 0;
  ForEachInBlock(row.count, [&](int64_t i) {
    const uint64_t candidate =
        uint64_t{row.rank(i)} << 32 | (0xffffffffu - static_cast<uint32_t>(i));
    mine = MaxOf()(mine, candidate);
  });
  const int64_t best =
      0xffffffffu - static_cast<uint32_t>(CombineBlock(mine, MaxOf()));
  if (threadIdx.x == 0) *id = static_cast<int32_t>(best);
  if (params.temperature <= 0) return;

  SamplingCut cut;
  if (params.top_k > 0 && params.top_k < row.count) {
    cut = FindCut(row, static_cast<uint64_t>(params.top_k),
                  [](int64_t) { return uint64_t{1}; });
  }
  ForEachInBlock(row.count, [&](int64_t i) {
    row.weights[i] =
        row.rank(i) < cut.rank
            ? 0
            : WeightOf(row.scores[i], row.scores[best], params.temperature);
  });
  __syncthreads();
  uint64_t before = 0;
  uint64_t total = Apply(cut, row, &before);
  if (total == 0) return;
  if (params.top_p < 1) {
    cut = FindCut(row, ShareOf(params.top_p, total),
                  [&](int64_t i) { return row.weights[i]; });
    total = Apply(cut, row, &before);
  }
  const uint64_t pick = PickBelow(total, random);
  const Part part(row.count);
  uint64_t sum = before;
  for (int64_t i = part.begin; i < part.end && sum <= pick; ++i) {
    sum += row.weights[i];
    if (sum > pick) *id = static_cast<int32_t>(i);
  }
}

__global__ void __launch_bounds__(kThreadsPerRow)
    SampleKernel(int64_t rows, int64_t columns, int64_t count,
                 const float* logits, SampleParams params, uint64_t* weights,
                 int32_t* ids) {
  ForEachRow(rows, [=](int64_t row) {
    const PhiloxBlock words =
        RandomWords(params.key, static_cast<uint32_t>(row));
    SampleRow({logits + row * columns, weights + row * count, count}, params,
              words.v[0], ids + row);
  });
}

void Sample(In logits, const SampleParams& params, Out ids) {
  const int64_t rows = logits.dim(0), columns = logits.dim(-1);
  const int64_t count = params.limit > 0 ? params.limit : columns;
  NW_CHECK(count > 0 && count <= columns) << "sample " << count << " tokens";
  const Device device = logits.device();
  const Tensor weights = Empty({rows, count}, DType::kF64, device);  // As u64.
  Launch(device, {std::clamp<int64_t>(rows, 1, 65535), kThreadsPerRow},
         SampleKernel, rows, columns, count, logits.data<float>(), params,
         static_cast<uint64_t*>(weights.raw_data()), ids->data<int32_t>());
}

[[maybe_unused]] const bool registered =
    sample.Register(DeviceType::kCuda, Sample);

}  // namespace
}  // namespace nextword::kernels::cuda

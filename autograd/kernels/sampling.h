// How a token is drawn from scores, on any device.
//
// Scores compare by rank, an integer; weights e^((score - best) / temperature)
// are counted in units of 2^-40, so that a sum of them does not depend on its
// order. Devices whose e^x differ in a last bit may differ by one unit: they
// draw the same tokens, but for one in billions.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_SAMPLING_H_
#define NEXTWORD_AUTOGRAD_KERNELS_SAMPLING_H_

#include <bit>
#include <cmath>
#include <cstdint>

#include "autograd/base/host_device.h"

namespace nextword::kernels {

// Orders as scores do; NaN comes last.
NW_HOST_DEVICE uint32_t RankOf(float score) {
  if (!(score == score)) return 0;
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 is 0.
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

// A sum of 2^23 of them fits.
NW_HOST_DEVICE uint64_t WeightOf(float score, float best, double temperature) {
  if (score == best) return uint64_t{1} << 40;
  if (!(score < best)) return 0;  // NaN.
  const double scaled =
      ::exp((static_cast<double>(score) - best) / temperature) * 0x1.0p40;
  return static_cast<uint64_t>(scaled + 0.5);
}

// The least sum that is a share, in [0, 1], of `total`, but not nothing.
NW_HOST_DEVICE uint64_t ShareOf(double share, uint64_t total) {
  const double wanted = ::ceil(share * static_cast<double>(total));
  if (wanted < 1) return 1;
  return wanted < static_cast<double>(total) ? static_cast<uint64_t>(wanted)
                                             : total;
}

// A number below `total`, from 32 random bits.
NW_HOST_DEVICE uint64_t PickBelow(uint64_t total, uint32_t random) {
  return random * (total >> 32) + ((random * (total & 0xffffffffu)) >> 32);
}

// What is kept: all of a higher rank, and of this rank the first `ties`.
struct SamplingCut {
  uint32_t rank = 0;
  uint64_t ties = ~uint64_t{0};
};

// The search for the cut that keeps the fewest best elements whose values
// (weights, or 1 each) sum up to a target: eight bits of the rank at a time,
// from the values' sums by those bits.
struct SamplingCutSearch {
  static constexpr int kBins = 256;
  static constexpr int kRounds = 4;

  // `target` is at least 1, at most the sum of all.
  NW_HOST_DEVICE static SamplingCutSearch For(uint64_t target) {
    return {target, 0, 24};
  }

  uint64_t target;
  uint32_t rank;
  int shift;

  // The bin that an element adds to in this round; -1: none.
  NW_HOST_DEVICE int BinOf(uint32_t of) const {
    // In two steps, for a shift by all 32 bits is undefined.
    if ((of >> shift >> 8) != (rank >> shift >> 8)) return -1;
    return static_cast<int>((of >> shift) & 0xffu);
  }

  // Ends a round.
  NW_HOST_DEVICE void Descend(const uint64_t* sums) {
    int bin = kBins - 1;
    while (bin > 0 && sums[bin] < target) target -= sums[bin--];
    rank |= static_cast<uint32_t>(bin) << shift;
    shift -= 8;
  }

  // After the last round; `value` is that of an element of the cut's rank.
  NW_HOST_DEVICE SamplingCut Cut(uint64_t value) const {
    return {rank, (target + value - 1) / value};
  }
};

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_SAMPLING_H_

// Memory in which a GPU keeps attention's scores while it adds up gradients in
// a fixed order, and how many sequences share it.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_SCORE_MEMORY_H_
#define NEXTWORD_AUTOGRAD_KERNELS_SCORE_MEMORY_H_

#include <algorithm>
#include <cstdint>

namespace nextword::kernels {

struct ScoreMemory {
  int64_t sequences;  // At once.
  int64_t bytes;      // Of these, at most 1 GiB or those of one sequence.

  // Bf16 scores of `heads` heads for each pair of a query and a key, in whole
  // blocks. No size is 0.
  static ScoreMemory Of(int64_t batch, int64_t heads, int64_t queries,
                        int64_t keys) {
    constexpr int64_t kMost = int64_t{1} << 30;
    const auto whole = [](int64_t n, int64_t block) {
      return (n + block - 1) / block * block;
    };
    const int64_t each = 2 * heads * whole(queries, 64) * whole(keys, 128);
    const int64_t sequences = std::clamp<int64_t>(kMost / each, 1, batch);
    return {sequences, sequences * each};
  }
};

}  // namespace nextword::kernels

#endif  // NEXTWORD_AUTOGRAD_KERNELS_SCORE_MEMORY_H_

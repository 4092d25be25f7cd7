// How a flat buffer is divided among ranks.
#ifndef NEXTWORD_DISTRIBUTED_COLLECTIVES_PIECES_H_
#define NEXTWORD_DISTRIBUTED_COLLECTIVES_PIECES_H_

#include <algorithm>
#include <cstdint>

#include "autograd/kernels/kernels.h"

namespace nextword {

// Elements [begin, end).
struct Piece {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
};

// Pieces begin at multiples of this many elements, so that sums over chunks of
// that size do not see how buffers are divided.
inline constexpr int64_t kPieceUnit = kernels::kSquaresChunk;

// Elements [0, numel) divided among `world_size` ranks, in the order of ranks:
// all pieces of one size, but for the last ones, which may be short or empty:
// with hundreds of ranks, buckets should have many units for each.
inline Piece PieceOf(int64_t numel, int world_size, int rank) {
  const int64_t units = (numel + kPieceUnit - 1) / kPieceUnit;
  const int64_t size = (units + world_size - 1) / world_size * kPieceUnit;
  return {std::min(numel, rank * size), std::min(numel, (rank + 1) * size)};
}

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_COLLECTIVES_PIECES_H_

// A rank's piece of a bucket of the flat buffers.
#ifndef NEXTWORD_DISTRIBUTED_BUCKET_PIECES_H_
#define NEXTWORD_DISTRIBUTED_BUCKET_PIECES_H_

#include "autograd/parameters.h"
#include "distributed/collectives/pieces.h"

namespace nextword {

inline FlatRange PieceOf(const FlatRange& bucket, int world_size, int rank) {
  const Piece piece = PieceOf(bucket.size(), world_size, rank);
  return {bucket.begin + piece.begin, bucket.begin + piece.end};
}

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_BUCKET_PIECES_H_

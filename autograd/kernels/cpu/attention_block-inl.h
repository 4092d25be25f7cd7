// What fused attention and its gradient share: blocks of keys, the groups of
// queries that see them, and exponentials of scores.
//
// Included inside per-target code, hence the guard that lets every target in.
#if defined(NEXTWORD_AUTOGRAD_KERNELS_CPU_ATTENTION_BLOCK_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef NEXTWORD_AUTOGRAD_KERNELS_CPU_ATTENTION_BLOCK_INL_H_
#undef NEXTWORD_AUTOGRAD_KERNELS_CPU_ATTENTION_BLOCK_INL_H_
#else
#define NEXTWORD_AUTOGRAD_KERNELS_CPU_ATTENTION_BLOCK_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <limits>

#include "autograd/kernels/cpu/tile-inl.h"
#include "autograd/kernels/cpu/transpose-inl.h"
#include "autograd/kernels/visibility.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace nextword::kernels {
namespace HWY_NAMESPACE {

using IntTag = hn::RebindToSigned<FloatTag>;

// Keys of a block. Blocks begin at multiples of it, so that a query's bits do
// not depend on those beside it.
constexpr int64_t kKeyBlock = 64;

// Queries that are taken through the steps on one block of keys together.
constexpr int64_t kQueryStrip = 48;

// 2^x within 1.5 units in the last place for x <= 0; 0 below -126. x = n + r
// with |r| <= 1/2, 2^r by a minimax polynomial.
HWY_INLINE FloatVector Exp2(FloatVector x) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> di;
  // Adding it rounds, and leaves n + 127, an exponent, in the lowest bits.
  const FloatVector round = hn::Set(d, 12582912.0f + 127.0f);
  const FloatVector shifted = hn::Add(x, round);
  const FloatVector r = hn::Sub(x, hn::Sub(shifted, round));
  FloatVector p = hn::Set(d, 0.0013264727f);
  p = hn::MulAdd(p, r, hn::Set(d, 0.009671513f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.055507336f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.24022242f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.693147f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const FloatVector power =
      hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0f)), hn::Mul(p, power));
}

// Up to kKeyBlock keys of one sequence, with their documents if there are any.
struct KeyBlock {
  KeyBlock(const Visibility& visibility, int64_t batch, int64_t first)
      : begin(first), count(std::min(kKeyBlock, visibility.keys - first)) {
    const int32_t* const all = visibility.Documents(batch);
    has_documents = all != nullptr;
    if (!has_documents) return;
    std::fill_n(std::copy_n(all + begin, count, documents), kKeyBlock - count,
                all[begin]);
    const auto [low, high] = std::minmax_element(documents, documents + count);
    first_document = *low;
    last_document = *high;
  }

  int64_t begin, count;
  bool has_documents;
  int32_t first_document, last_document;  // The smallest and the largest.
  HWY_ALIGN int32_t documents[kKeyBlock];
};

// A tile's rows of queries, and the columns of a block of keys that they may
// see.
struct QueryGroup {
  // The same in whole vectors.
  HWY_INLINE int64_t first_column() const { return begin / kLanes * kLanes; }
  HWY_INLINE int64_t columns() const {
    return RoundUpToLanes(end) - first_column();
  }

  int64_t row, rows;  // Within the strip.
  int64_t begin, end;
  bool whole;  // Whether all rows see all columns of a full block.
};

// The groups of one strip of queries that see some of a block of keys.
struct Strip {
  Strip(const Visibility& visibility, int64_t batch, int64_t first_query,
        int64_t num_queries, const KeyBlock& block)
      : query(first_query), rows(num_queries) {
    const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t row = tile * rows / tiles;
      const int64_t next = (tile + 1) * rows / tiles;
      const KeyRange first = visibility.Keys(query + row);
      const KeyRange last = visibility.Keys(query + next - 1);
      const int64_t begin = std::max<int64_t>(0, first.begin - block.begin);
      const int64_t end = std::min(block.count, last.end - block.begin);
      if (begin >= end) continue;
      QueryGroup group{row, next - row, begin, end, false};
      group.whole = last.begin <= block.begin &&
                    first.end >= block.begin + kKeyBlock &&
                    block.count == kKeyBlock;
      if (block.has_documents) {
        const int32_t* const own =
            visibility.Documents(batch) + query + row + visibility.offset;
        const auto [low, high] = std::minmax_element(own, own + group.rows);
        if (*low > block.last_document || *high < block.first_document) {
          continue;
        }
        group.whole &=
            *low == block.last_document && *high == block.first_document;
      }
      groups[count++] = group;
    }
  }

  int64_t query, rows;
  int count = 0;
  QueryGroup groups[kQueryStrip];
};

// What one query may see of a block of keys.
struct ColumnMask {
  ColumnMask(const Visibility& visibility, int64_t batch, int64_t query,
             const KeyBlock& block)
      : begin(static_cast<int32_t>(
            std::max<int64_t>(0, visibility.Keys(query).begin - block.begin))),
        end(static_cast<int32_t>(
            std::min(block.count, visibility.Keys(query).end - block.begin))),
        documents(block.has_documents ? block.documents : nullptr),
        own(block.has_documents
                ? visibility.Documents(batch)[query + visibility.offset]
                : 0) {}

  // `x` where the columns from `column` on are seen, else `masked`.
  HWY_INLINE FloatVector Apply(int64_t column, FloatVector x,
                               FloatVector masked) const {
    const FloatTag d;
    const IntTag di;
    const auto index = hn::Iota(di, static_cast<int32_t>(column));
    auto seen = hn::AndNot(hn::Lt(index, hn::Set(di, begin)),
                           hn::Lt(index, hn::Set(di, end)));
    if (documents != nullptr) {
      seen = hn::And(
          seen, hn::Eq(hn::Load(di, documents + column), hn::Set(di, own)));
    }
    return hn::IfThenElse(hn::RebindMask(d, seen), x, masked);
  }

  int32_t begin, end;
  const int32_t* documents;
  int32_t own;
};

}  // namespace HWY_NAMESPACE
}  // namespace nextword::kernels
HWY_AFTER_NAMESPACE();

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CPU_ATTENTION_BLOCK_INL_H_

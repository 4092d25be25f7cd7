// The merges of a byte-pair encoding, looked up by pair, and their application
// to pieces of text.
#ifndef NEXTWORD_DATA_MERGE_TABLE_H_
#define NEXTWORD_DATA_MERGE_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace nextword {

// Which id two ids make. Immutable once filled, then thread-safe.
class MergeTable {
 public:
  static constexpr int32_t kNone = -1;

  MergeTable() = default;
  // Merge i makes id 256 + i.
  explicit MergeTable(const std::vector<std::pair<int32_t, int32_t>>& merges);

  // The id that `left` and `right` make, or kNone.
  int32_t Find(int32_t left, int32_t right) const {
    const auto found = ids_.find(Key(left, right));
    return found == ids_.end() ? kNone : found->second;
  }

 private:
  static uint64_t Key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 |
           static_cast<uint32_t>(right);
  }

  absl::flat_hash_map<uint64_t, int32_t> ids_;
};

// Encodes pieces, remembering those already seen. Not thread-safe; each thread
// has its own. Pieces must outlive the encoder.
class PieceEncoder {
 public:
  // `table` must outlive the encoder.
  explicit PieceEncoder(const MergeTable& table) : table_(table) {}

  // Appends the ids of `piece` to `ids`.
  void Encode(absl::string_view piece, std::vector<int32_t>* ids);

 private:
  // A token of the piece, in a doubly linked list of indices.
  struct Symbol {
    int32_t id;
    size_t previous;
    size_t next;
  };
  // The symbol at `position` and its successor can make `id`.
  struct Candidate {
    int32_t id;
    size_t position;
    // A heap has its greatest element on top: the earliest merge, leftmost.
    friend bool operator<(const Candidate& a, const Candidate& b) {
      return std::pair(a.id, a.position) > std::pair(b.id, b.position);
    }
  };

  void AppendMerged(absl::string_view piece, std::vector<int32_t>* ids);
  // Queues the pair that starts at `position`, if it is one that merges.
  void Propose(size_t position);
  // The id that the symbol at `position` and its successor make.
  int32_t PairAt(size_t position) const;
  void MergeAt(const Candidate& candidate);

  const MergeTable& table_;
  // Piece to its range in seen_ids_.
  absl::flat_hash_map<absl::string_view, std::pair<size_t, size_t>> seen_;
  std::vector<int32_t> seen_ids_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

}  // namespace nextword

#endif  // NEXTWORD_DATA_MERGE_TABLE_H_

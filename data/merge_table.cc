#include "data/merge_table.h"

#include <algorithm>

namespace nextword {
namespace {

constexpr size_t kEnd = SIZE_MAX;
constexpr int32_t kFirstMerge = 256;

}  // namespace

MergeTable::MergeTable(const std::vector<std::pair<int32_t, int32_t>>& merges) {
  ids_.reserve(merges.size());
  int32_t id = kFirstMerge;
  for (const auto& [left, right] : merges) ids_[Key(left, right)] = id++;
}

void PieceEncoder::Encode(absl::string_view piece, std::vector<int32_t>* ids) {
  const auto [entry, is_new] = seen_.try_emplace(piece);
  if (is_new) {
    const size_t begin = seen_ids_.size();
    AppendMerged(piece, &seen_ids_);
    entry->second = {begin, seen_ids_.size()};
  }
  const auto [begin, end] = entry->second;
  ids->insert(ids->end(), seen_ids_.begin() + begin, seen_ids_.begin() + end);
}

void PieceEncoder::AppendMerged(absl::string_view piece,
                                std::vector<int32_t>* ids) {
  symbols_.clear();
  for (size_t i = 0; i < piece.size(); ++i) {
    symbols_.push_back({.id = static_cast<uint8_t>(piece[i]),
                        .previous = i == 0 ? kEnd : i - 1,
                        .next = i + 1 == piece.size() ? kEnd : i + 1});
  }
  for (size_t i = 0; i < piece.size(); ++i) Propose(i);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end());
    const Candidate candidate = heap_.back();
    heap_.pop_back();
    // An earlier merge may have taken one of the two.
    if (PairAt(candidate.position) == candidate.id) MergeAt(candidate);
  }
  for (size_t i = piece.empty() ? kEnd : 0; i != kEnd; i = symbols_[i].next) {
    ids->push_back(symbols_[i].id);
  }
}

void PieceEncoder::Propose(size_t position) {
  const int32_t id = PairAt(position);
  if (id == MergeTable::kNone) return;
  heap_.push_back({id, position});
  std::push_heap(heap_.begin(), heap_.end());
}

int32_t PieceEncoder::PairAt(size_t position) const {
  const Symbol& left = symbols_[position];
  if (left.id == MergeTable::kNone || left.next == kEnd) {
    return MergeTable::kNone;
  }
  return table_.Find(left.id, symbols_[left.next].id);
}

void PieceEncoder::MergeAt(const Candidate& candidate) {
  Symbol& left = symbols_[candidate.position];
  Symbol& right = symbols_[left.next];
  left.id = candidate.id;
  left.next = right.next;
  right.id = MergeTable::kNone;
  if (left.next != kEnd) symbols_[left.next].previous = candidate.position;
  if (left.previous != kEnd) Propose(left.previous);
  Propose(candidate.position);
}

}  // namespace nextword

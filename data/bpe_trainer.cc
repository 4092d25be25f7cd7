#include "data/bpe_trainer.h"

#include <iterator>
#include <queue>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "autograd/base/stop.h"
#include "data/pretokenizer.h"

namespace nextword {
namespace {

constexpr int32_t kBytes = 256;
constexpr size_t kChunkBytes = size_t{1} << 20;

using PieceCounts = absl::flat_hash_map<absl::string_view, int64_t>;
using Pair = Tokenizer::Merge;

PieceCounts CountPieces(absl::Span<const absl::string_view> texts) {
  std::vector<absl::string_view> chunks;
  for (const absl::string_view text : texts) {
    const auto of_text = CutAtPieces(text, kChunkBytes);
    chunks.insert(chunks.end(), of_text.begin(), of_text.end());
  }
  std::vector<PieceCounts> counts(chunks.size());
  ParallelForEach(static_cast<int64_t>(chunks.size()), [&](int64_t i) {
    if (StopRequested()) return;
    ForEachPiece(chunks[i],
                 [&](absl::string_view piece) { ++counts[i][piece]; });
  });
  PieceCounts total;
  for (PieceCounts& chunk : counts) {
    for (const auto& [piece, count] : chunk) total[piece] += count;
    chunk = PieceCounts();
  }
  return total;
}

// A distinct piece of the text as tokens.
struct Word {
  std::vector<int32_t> ids;
  int64_t count;
};

// Where a pair of tokens occurs.
struct Occurrences {
  int64_t count = 0;
  // Words that had the pair at some time; a word may appear twice.
  std::vector<size_t> words;
};

// Merges pairs in words and keeps the counts of pairs. A merge only visits the
// words that have the pair. Counts of existing pairs only fall and new pairs
// hold the new token, so a heap with lazy corrections finds the maximum.
class PairMerger {
 public:
  explicit PairMerger(const PieceCounts& pieces);

  // Does the next merge and records it; false when no pair is left.
  bool Merge();

  std::vector<Pair>& merges() { return merges_; }

 private:
  struct Candidate {
    int64_t count;
    Pair pair;
  };
  // Whether `a` is merged after `b`.
  struct Later {
    const std::vector<std::string>& tokens;

    bool operator()(const Candidate& a, const Candidate& b) const {
      const auto key = [this](const Candidate& x) {
        return std::tuple<int64_t, const std::string&, const std::string&>(
            x.count, tokens[x.pair.first], tokens[x.pair.second]);
      };
      return key(a) < key(b);
    }
  };

  // Adds `count` occurrences of `pair` in a word.
  void Add(Pair pair, int64_t count, size_t word);
  // Queues the pairs that Add saw for the first time.
  void QueueNewPairs();
  // Replaces `pair` by `id` in a word.
  void MergeInWord(Pair pair, int32_t id, size_t word);

  std::vector<Word> words_;
  absl::flat_hash_map<Pair, Occurrences> pairs_;
  std::vector<Pair> new_pairs_;
  std::vector<Pair> merges_;
  std::vector<std::string> tokens_;
  std::priority_queue<Candidate, std::vector<Candidate>, Later> queue_;
};

PairMerger::PairMerger(const PieceCounts& pieces) : queue_(Later{tokens_}) {
  for (int byte = 0; byte < kBytes; ++byte) {
    tokens_.emplace_back(1, static_cast<char>(byte));
  }
  words_.reserve(pieces.size());
  for (const auto& [piece, count] : pieces) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(piece.data());
    words_.push_back({{bytes, bytes + piece.size()}, count});
    const std::vector<int32_t>& ids = words_.back().ids;
    for (size_t i = 1; i < ids.size(); ++i) {
      Add({ids[i - 1], ids[i]}, count, words_.size() - 1);
    }
  }
  QueueNewPairs();
}

bool PairMerger::Merge() {
  while (!queue_.empty()) {
    const Candidate best = queue_.top();
    queue_.pop();
    const int64_t count = pairs_.at(best.pair).count;
    if (count == 0) continue;
    if (count < best.count) {
      queue_.push({count, best.pair});
      continue;
    }
    const int32_t id = kBytes + static_cast<int32_t>(merges_.size());
    merges_.push_back(best.pair);
    tokens_.push_back(
        absl::StrCat(tokens_[best.pair.first], tokens_[best.pair.second]));
    const std::vector<size_t> words = std::move(pairs_.at(best.pair).words);
    for (const size_t word : words) MergeInWord(best.pair, id, word);
    pairs_.erase(best.pair);
    QueueNewPairs();
    return true;
  }
  return false;
}

void PairMerger::Add(Pair pair, int64_t count, size_t word) {
  const auto [entry, is_new] = pairs_.try_emplace(pair);
  if (is_new) new_pairs_.push_back(pair);
  Occurrences& occurrences = entry->second;
  occurrences.count += count;
  if (occurrences.words.empty() || occurrences.words.back() != word) {
    occurrences.words.push_back(word);
  }
}

void PairMerger::QueueNewPairs() {
  for (const Pair& pair : new_pairs_) {
    queue_.push({pairs_.at(pair).count, pair});
  }
  new_pairs_.clear();
}

void PairMerger::MergeInWord(Pair pair, int32_t id, size_t word) {
  std::vector<int32_t>& ids = words_[word].ids;
  const int64_t count = words_[word].count;
  size_t written = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i + 1 == ids.size() || Pair(ids[i], ids[i + 1]) != pair) {
      ids[written++] = ids[i];
      continue;
    }
    // The neighbours lose their pair with the old tokens and gain one with the
    // new. The left one may itself be the new token by now.
    if (written > 0) {
      pairs_.at({ids[written - 1], pair.first}).count -= count;
      Add({ids[written - 1], id}, count, word);
    }
    if (i + 2 < ids.size()) {
      pairs_.at({pair.second, ids[i + 2]}).count -= count;
      Add({id, ids[i + 2]}, count, word);
    }
    ids[written++] = id;
    ++i;
  }
  ids.resize(written);
}

}  // namespace

absl::StatusOr<Tokenizer> TrainBpe(absl::Span<const absl::string_view> texts,
                                   const BpeTrainerOptions& options) {
  const int64_t fixed = kBytes + std::ssize(options.special_tokens);
  if (options.vocab_size < fixed) {
    return absl::InvalidArgumentError(absl::StrCat(
        "vocab_size is ", options.vocab_size, ", wanted at least ", fixed, ": ",
        kBytes, " bytes and ", fixed - kBytes, " special tokens"));
  }
  const int64_t wanted = options.vocab_size - fixed;
  if (wanted == 0) return Tokenizer::FromMerges({}, options.special_tokens);
  const PieceCounts pieces = CountPieces(texts);
  NW_RETURN_IF_ERROR(CheckStop());
  PairMerger merger(pieces);
  while (std::ssize(merger.merges()) < wanted) {
    NW_RETURN_IF_ERROR(CheckStop());
    if (merger.Merge()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "vocab_size is ", options.vocab_size, ", but the text has pairs for ",
        fixed + std::ssize(merger.merges()), " entries only"));
  }
  return Tokenizer::FromMerges(std::move(merger.merges()),
                               options.special_tokens);
}

}  // namespace nextword

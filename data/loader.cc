#include "data/loader.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/hash.h"
#include "autograd/base/status.h"
#include "data/permutation.h"

namespace nextword {
namespace {

// What a random number is for. Part of its key.
enum class Site : uint64_t { kOrder, kOffset };

uint64_t RandomKey(uint64_t seed, uint64_t epoch, Site site) {
  const uint64_t key[] = {seed, epoch, static_cast<uint64_t>(site)};
  return Hash64({reinterpret_cast<const char*>(key), sizeof(key)});
}

}  // namespace

absl::StatusOr<Loader> Loader::Create(TokenStream stream,
                                      const LoaderOptions& options) {
  NW_CHECK_GE(options.sequence_length, 1);
  const uint64_t wanted = static_cast<uint64_t>(options.sequence_length) + 1;
  if (stream.num_tokens() < wanted) {
    return absl::InvalidArgumentError(absl::StrCat(
        "sequence_length is ", options.sequence_length, ", which needs ",
        wanted, " tokens, but the token files have ", stream.num_tokens(), ": ",
        stream.Describe()));
  }
  return Loader(std::move(stream), options);
}

Loader::Loader(TokenStream stream, const LoaderOptions& options)
    : stream_(std::move(stream)), options_(options) {
  const auto length = static_cast<uint64_t>(options.sequence_length);
  const uint64_t tokens = stream_.num_tokens();
  // Room for the largest offset, length - 1, and for the last target. Streams
  // of less than two windows have one, with the offsets that there is room for.
  sequences_per_epoch_ = std::max<uint64_t>(1, (tokens - length) / length);
  num_offsets_ = std::min(length, tokens - sequences_per_epoch_ * length);
}

uint64_t Loader::FirstToken(uint64_t index) const {
  const uint64_t epoch = index / sequences_per_epoch_;
  const Permutation order(sequences_per_epoch_,
                          RandomKey(options_.seed, epoch, Site::kOrder));
  const uint64_t offset =
      RandomKey(options_.seed, epoch, Site::kOffset) % num_offsets_;
  return offset + order(index % sequences_per_epoch_) *
                      static_cast<uint64_t>(options_.sequence_length);
}

void Loader::Get(uint64_t index, int32_t* inputs, int32_t* targets,
                 int32_t* documents) const {
  std::vector<int32_t> window(options_.sequence_length + 1);
  stream_.Read(FirstToken(index), absl::MakeSpan(window));
  FillRow(window, stream_.vocabulary().end_of_text, options_.document_mask,
          {options_.sequence_length, inputs, targets, documents});
}

void Loader::GetBatch(uint64_t first, int64_t count, int32_t* inputs,
                      int32_t* targets, int32_t* documents) const {
  for (int64_t row = 0; row < count; ++row) {
    const int64_t at = row * options_.sequence_length;
    Get(first + row, inputs + at, targets + at,
        documents == nullptr ? nullptr : documents + at);
  }
}

}  // namespace nextword

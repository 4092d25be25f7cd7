#include "data/evaluation_sequences.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"

namespace nextword {

absl::StatusOr<EvaluationSequences> EvaluationSequences::Create(
    TokenStream stream, const EvaluationOptions& options) {
  NW_CHECK_GE(options.sequence_length, 1);
  if (stream.num_tokens() < 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        "evaluation needs at least 2 tokens, has ", stream.Describe()));
  }
  return EvaluationSequences(std::move(stream), options);
}

EvaluationSequences::EvaluationSequences(TokenStream stream,
                                         const EvaluationOptions& options)
    : stream_(std::move(stream)), options_(options) {}

uint64_t EvaluationSequences::size() const {
  const uint64_t targets = stream_.num_tokens() - 1;
  const auto length = static_cast<uint64_t>(options_.sequence_length);
  return (targets + length - 1) / length;
}

void EvaluationSequences::Get(uint64_t index, int32_t* inputs, int32_t* targets,
                              int32_t* documents) const {
  NW_CHECK_LT(index, size());
  const auto length = static_cast<uint64_t>(options_.sequence_length);
  const uint64_t begin = index * length;
  std::vector<int32_t> window(
      std::min(length + 1, stream_.num_tokens() - begin));
  stream_.Read(begin, absl::MakeSpan(window));
  FillRow(window, stream_.vocabulary().end_of_text, options_.document_mask,
          {options_.sequence_length, inputs, targets, documents});
}

}  // namespace nextword

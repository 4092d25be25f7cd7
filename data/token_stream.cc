#include "data/token_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/base/status.h"

namespace nextword {

absl::StatusOr<TokenStream> TokenStream::Open(
    const std::vector<std::string>& paths,
    const std::optional<Vocabulary>& expected) {
  if (paths.empty()) {
    return absl::InvalidArgumentError("no token files are given");
  }
  std::vector<TokenFile> files;
  for (const std::string& path : paths) {
    NW_ASSIGN_OR_RETURN(
        TokenFile file,
        TokenFile::Open(path,
                        files.empty() ? expected : files[0].info().vocabulary));
    files.push_back(std::move(file));
  }
  return TokenStream(std::move(files));
}

TokenStream::TokenStream(std::vector<TokenFile> files)
    : files_(std::move(files)) {
  uint64_t end = 0;
  for (const TokenFile& file : files_) {
    ends_.push_back(end += file.num_tokens());
  }
}

void TokenStream::Read(uint64_t begin, absl::Span<int32_t> out) const {
  size_t i =
      std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin();
  while (!out.empty()) {
    NW_CHECK_LT(i, files_.size()) << "reading past the stream's end";
    const size_t n = std::min<uint64_t>(out.size(), ends_[i] - begin);
    const uint64_t file_begin = ends_[i] - files_[i].num_tokens();
    files_[i].Read(begin - file_begin, out.subspan(0, n));
    out.remove_prefix(n);
    begin += n;
    ++i;
  }
}

uint64_t TokenStream::num_documents() const {
  uint64_t documents = 0;
  for (const TokenFile& file : files_) documents += file.info().num_documents;
  return documents;
}

uint64_t TokenStream::text_bytes() const {
  uint64_t bytes = 0;
  for (const TokenFile& file : files_) bytes += file.info().text_bytes;
  return bytes;
}

const Vocabulary& TokenStream::vocabulary() const {
  return files_[0].info().vocabulary;
}

std::string TokenStream::Describe() const {
  return absl::StrJoin(files_, ", ", [](std::string* out, const TokenFile& f) {
    absl::StrAppend(out, f.path(), " (", f.num_tokens(), " tokens)");
  });
}

}  // namespace nextword

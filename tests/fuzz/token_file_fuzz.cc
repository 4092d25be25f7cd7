#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "autograd/base/hash.h"
#include "autograd/base/status.h"
#include "data/token_file.h"
#include "data/token_stream.h"
#include "tests/fuzz/file_fuzz.h"
#include "tests/fuzz/fuzz_file.h"

namespace nextword {
namespace {

// Where the header has its fields (see data/token_file.h).
constexpr size_t kTokenBytesAt = 12;
constexpr size_t kNumTokensAt = 16;
constexpr size_t kNumDocumentsAt = 24;
constexpr size_t kEndOfTextAt = 52;
constexpr size_t kPayloadChecksumAt = 56;
constexpr size_t kReservedAt = 64;
constexpr size_t kHeaderChecksumAt = 120;
constexpr size_t kHeaderBytes = 128;

template <typename T>
T Get(absl::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

template <typename T>
void Put(T value, size_t at, std::string* bytes) {
  std::memcpy(bytes->data() + at, &value, sizeof(T));
}

std::vector<int32_t> ReadAll(const TokenFile& file) {
  std::vector<int32_t> ids(file.num_tokens());
  file.Read(0, absl::MakeSpan(ids));
  return ids;
}

void CheckStream(const std::string& path, const std::vector<int32_t>& ids) {
  const absl::StatusOr<TokenStream> stream = TokenStream::Open({path, path});
  NW_CHECK_OK(stream.status());
  NW_CHECK_EQ(stream->num_tokens(), 2 * ids.size());
  // From the middle of the one into the middle of the other.
  std::vector<int32_t> middle(ids.size());
  const size_t half = ids.size() / 2;
  stream->Read(half, absl::MakeSpan(middle));
  std::vector<int32_t> wanted(ids.begin() + half, ids.end());
  wanted.insert(wanted.end(), ids.begin(), ids.begin() + half);
  NW_CHECK(middle == wanted) << "the stream has other tokens";
}

void CheckIds(const TokenFile& file, const std::vector<int32_t>& ids) {
  const Vocabulary& vocabulary = file.info().vocabulary;
  for (const int32_t id : ids) {
    NW_CHECK(id >= 0 && id < vocabulary.size) << "id " << id;
  }
  NW_CHECK_EQ(static_cast<uint64_t>(
                  std::count(ids.begin(), ids.end(), vocabulary.end_of_text)),
              file.info().num_documents);
}

// Its documents, written again, make the same file.
void CheckWrittenAgain(const TokenFileInfo& info,
                       const std::vector<int32_t>& ids,
                       absl::string_view contents) {
  const std::string path = FuzzPath("again.tokens");
  const auto fill = [&](TokenFileWriter& writer) {
    uint64_t text_bytes = info.text_bytes;
    auto begin = ids.begin();
    while (begin != ids.end()) {
      const auto end = std::find(begin, ids.end(), info.vocabulary.end_of_text);
      NW_CHECK(end != ids.end()) << "tokens that belong to no document";
      NW_RETURN_IF_ERROR(
          writer.AddDocument(std::vector<int32_t>(begin, end), text_bytes));
      text_bytes = 0;
      begin = end + 1;
    }
    return absl::OkStatus();
  };
  NW_CHECK_OK(WriteTokenFile(path, info.vocabulary, fill).status());
  const absl::StatusOr<std::string> again = ReadFile(path);
  NW_CHECK_OK(again.status());
  // What the reserved bytes are is the business of a later version.
  const auto but_for_reserved = [](absl::string_view bytes) {
    return absl::StrCat(bytes.substr(0, kReservedAt),
                        bytes.substr(kHeaderBytes));
  };
  NW_CHECK(but_for_reserved(*again) == but_for_reserved(contents))
      << "other bytes once written";
}

bool Accepts(absl::string_view contents) {
  const std::string path = WriteFuzzFile("fuzz.tokens", contents);
  const absl::StatusOr<TokenFile> file = TokenFile::Open(path);
  if (!file.ok()) {
    CheckRefusal(file.status(), absl::StrCat(path, ":"));
    return false;
  }
  NW_CHECK(LooksLikeTokenFile(contents));
  Vocabulary other = file->info().vocabulary;
  NW_CHECK_OK(TokenFile::Open(path, other).status());
  ++other.fingerprint;
  CheckRefusal(TokenFile::Open(path, other).status(), path);
  // Even ids that are none can be read.
  const std::vector<int32_t> ids = ReadAll(*file);
  CheckStream(path, ids);
  const absl::Status verified = file->VerifyContents();
  if (!verified.ok()) {
    CheckRefusal(verified, absl::StrCat(path, ":"));
    return false;
  }
  CheckIds(*file, ids);
  if (!ids.empty()) CheckWrittenAgain(file->info(), ids, contents);
  return true;
}

// Counts what is there, and puts checksums to it.
std::string PutRight(absl::string_view input) {
  std::string contents(input);
  contents.resize(std::max(contents.size(), kHeaderBytes));
  const absl::string_view payload =
      absl::string_view(contents).substr(kHeaderBytes);
  const auto end_of_text = Get<int32_t>(contents, kEndOfTextAt);
  const bool narrow = Get<int32_t>(contents, kTokenBytesAt) == 2;
  const size_t width = narrow ? 2 : 4;
  uint64_t documents = 0;
  for (size_t at = 0; at + width <= payload.size(); at += width) {
    const int32_t id =
        narrow ? Get<uint16_t>(payload, at) : Get<int32_t>(payload, at);
    documents += id == end_of_text ? 1 : 0;
  }
  const uint64_t checksum = Hash64(payload);
  Put<uint64_t>(payload.size() / width, kNumTokensAt, &contents);
  Put(documents, kNumDocumentsAt, &contents);
  Put(checksum, kPayloadChecksumAt, &contents);
  Put(Hash64(absl::string_view(contents).substr(0, kHeaderChecksumAt)),
      kHeaderChecksumAt, &contents);
  return contents;
}

}  // namespace

FuzzResult DriveTokenFile(absl::string_view input) {
  if (Accepts(input)) return FuzzResult::kAccepted;
  return Accepts(PutRight(input)) ? FuzzResult::kPartly : FuzzResult::kRefused;
}

}  // namespace nextword

#include "data/token_file.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "autograd/base/status.h"
#include "autograd/base/stop.h"
#include "data/pretokenizer.h"

namespace nextword {
namespace {

constexpr char kMagic[8] = {'N', 'W', 'T', 'O', 'K', 'E', 'N', 'S'};
constexpr uint32_t kVersion = 1;
// Text encoded at once: enough for all threads, little memory.
constexpr size_t kSliceBytes = size_t{32} << 20;
constexpr int32_t kMaxNarrowVocabulary = 1 << 16;

// The first bytes of the file. The checksum, last, is of all bytes before it.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t token_bytes;
  uint64_t num_tokens;
  uint64_t num_documents;
  uint64_t text_bytes;
  uint64_t fingerprint;
  int32_t vocab_size;
  int32_t end_of_text;
  uint64_t payload_checksum;
  char reserved[56];
  uint64_t header_checksum;
};
static_assert(sizeof(Header) == 128);

absl::string_view BytesOf(const Header& header) {
  return {reinterpret_cast<const char*>(&header), sizeof(header)};
}

uint64_t Checksum(const Header& header) {
  return Hash64(BytesOf(header).substr(0, offsetof(Header, header_checksum)));
}

Header ToHeader(const TokenFileInfo& info) {
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.token_bytes = info.token_bytes;
  header.num_tokens = info.num_tokens;
  header.num_documents = info.num_documents;
  header.text_bytes = info.text_bytes;
  header.fingerprint = info.vocabulary.fingerprint;
  header.vocab_size = info.vocabulary.size;
  header.end_of_text = info.vocabulary.end_of_text;
  header.payload_checksum = info.checksum;
  header.header_checksum = Checksum(header);
  return header;
}

int32_t TokenBytes(int32_t vocab_size) {
  return vocab_size <= kMaxNarrowVocabulary ? 2 : 4;
}

TokenFileInfo FromHeader(const Header& header) {
  return {.vocabulary = {.fingerprint = header.fingerprint,
                         .size = header.vocab_size,
                         .end_of_text = header.end_of_text},
          .token_bytes = static_cast<int32_t>(header.token_bytes),
          .num_tokens = header.num_tokens,
          .num_documents = header.num_documents,
          .text_bytes = header.text_bytes,
          .checksum = header.payload_checksum};
}

// Reads the header and checks it against itself and the size of the file.
// Messages come without the path.
absl::StatusOr<TokenFileInfo> ParseHeader(absl::string_view file) {
  Header header;
  if (!LooksLikeTokenFile(file)) {
    return absl::InvalidArgumentError("is not a token file");
  }
  if (file.size() < sizeof(header)) {
    return absl::DataLossError(absl::StrCat("is truncated: ", file.size(),
                                            " bytes, less than the ",
                                            sizeof(header), " of a header"));
  }
  std::memcpy(&header, file.data(), sizeof(header));
  if (header.version != kVersion) {
    return absl::InvalidArgumentError(absl::StrCat(
        "is a token file of version ", header.version, ", wanted ", kVersion));
  }
  if (header.header_checksum != Checksum(header)) {
    return absl::DataLossError("is damaged: its header fails its checksum");
  }
  const TokenFileInfo info = FromHeader(header);
  if (info.vocabulary.end_of_text < 0 ||
      info.vocabulary.end_of_text >= info.vocabulary.size ||
      info.token_bytes != TokenBytes(info.vocabulary.size)) {
    return absl::InvalidArgumentError(
        absl::StrCat("contradicts itself: vocabulary of ", info.vocabulary.size,
                     ", end of text ", info.vocabulary.end_of_text, ", ids of ",
                     info.token_bytes, " bytes"));
  }
  const uint64_t payload = file.size() - sizeof(header);
  const auto width = static_cast<uint64_t>(info.token_bytes);
  if (payload % width != 0 || payload / width != info.num_tokens) {
    return absl::DataLossError(absl::StrCat(
        "is truncated or damaged: ", payload, " bytes of ids, wanted ",
        info.num_tokens, " ids of ", width, " bytes"));
  }
  return info;
}

absl::Status CheckVocabulary(const Vocabulary& seen, const Vocabulary& wanted) {
  if (seen == wanted) return absl::OkStatus();
  const auto describe = [](const Vocabulary& v) {
    return absl::StrFormat("fingerprint %016x, %d entries", v.fingerprint,
                           v.size);
  };
  return absl::FailedPreconditionError(
      absl::StrCat("was made with another tokenizer (", describe(seen),
                   ") than the one in use (", describe(wanted), ")"));
}

absl::Status At(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat(path, ": ", status.message()));
}

template <typename Id>
void Widen(const char* from, absl::Span<int32_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    Id id;
    std::memcpy(&id, from + i * sizeof(Id), sizeof(Id));
    out[i] = static_cast<int32_t>(id);
  }
}

}  // namespace

TokenFileWriter::TokenFileWriter(const Vocabulary& vocabulary, FileWriter* file)
    : info_{.vocabulary = vocabulary,
            .token_bytes = TokenBytes(vocabulary.size)},
      file_(file) {}

absl::Status TokenFileWriter::AddDocument(const Tokenizer& tokenizer,
                                          absl::string_view text) {
  NW_CHECK(tokenizer.vocabulary() == info_.vocabulary)
      << "document of another tokenizer";
  for (const absl::string_view slice : CutAtPieces(text, kSliceBytes)) {
    NW_RETURN_IF_ERROR(CheckStop());
    NW_RETURN_IF_ERROR(Append(tokenizer.Encode(slice)));
  }
  return EndDocument(text.size());
}

absl::Status TokenFileWriter::AddDocument(absl::Span<const int32_t> ids,
                                          uint64_t text_bytes) {
  if (std::count(ids.begin(), ids.end(), info_.vocabulary.end_of_text) > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a document contains the end-of-text token ",
                     info_.vocabulary.end_of_text));
  }
  NW_RETURN_IF_ERROR(Append(ids));
  return EndDocument(text_bytes);
}

absl::Status TokenFileWriter::EndDocument(uint64_t text_bytes) {
  NW_RETURN_IF_ERROR(Append({&info_.vocabulary.end_of_text, 1}));
  ++info_.num_documents;
  info_.text_bytes += text_bytes;
  return absl::OkStatus();
}

absl::Status TokenFileWriter::Append(absl::Span<const int32_t> ids) {
  buffer_.clear();
  buffer_.reserve(ids.size() * info_.token_bytes);
  for (const int32_t id : ids) {
    if (id < 0 || id >= info_.vocabulary.size) {
      return absl::OutOfRangeError(
          absl::StrCat("token id ", id, " is outside the vocabulary of ",
                       info_.vocabulary.size, " entries"));
    }
    buffer_.append(reinterpret_cast<const char*>(&id), info_.token_bytes);
  }
  info_.num_tokens += ids.size();
  hash_.Update(buffer_);
  return file_->Append(buffer_);
}

absl::Status TokenFileWriter::Finish() {
  if (info_.num_documents == 0) {
    return absl::InvalidArgumentError("no documents to write");
  }
  info_.checksum = hash_.Digest();
  return file_->WriteAt(0, BytesOf(ToHeader(info_)));
}

absl::StatusOr<TokenFileInfo> WriteTokenFile(
    const std::string& path, const Vocabulary& vocabulary,
    const std::function<absl::Status(TokenFileWriter&)>& fill) {
  TokenFileInfo info;
  NW_RETURN_IF_ERROR(WriteFileAtomically(path, [&](FileWriter& file) {
    TokenFileWriter writer(vocabulary, &file);
    NW_RETURN_IF_ERROR(file.Append(BytesOf(Header{})));
    NW_RETURN_IF_ERROR(fill(writer));
    NW_RETURN_IF_ERROR(writer.Finish());
    info = writer.info();
    return absl::OkStatus();
  }));
  return info;
}

bool LooksLikeTokenFile(absl::string_view contents) {
  return absl::StartsWith(contents, absl::string_view(kMagic, sizeof(kMagic)));
}

TokenFile::TokenFile(std::string path, MappedFile file,
                     const TokenFileInfo& info)
    : path_(std::move(path)), file_(std::move(file)), info_(info) {}

absl::StatusOr<TokenFile> TokenFile::Open(
    const std::string& path, const std::optional<Vocabulary>& expected) {
  NW_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  const absl::StatusOr<TokenFileInfo> info = ParseHeader(file.bytes());
  if (!info.ok()) return At(path, info.status());
  if (expected.has_value()) {
    const absl::Status same = CheckVocabulary(info->vocabulary, *expected);
    if (!same.ok()) return At(path, same);
  }
  return TokenFile(path, std::move(file), *info);
}

absl::Status TokenFile::VerifyContents() const {
  StreamHash hash;
  constexpr size_t kPiece = size_t{1} << 24;
  for (size_t begin = 0; begin < Payload().size(); begin += kPiece) {
    NW_RETURN_IF_ERROR(CheckStop());
    hash.Update(Payload().substr(begin, kPiece));
  }
  const uint64_t checksum = hash.Digest();
  if (checksum != info_.checksum) {
    return absl::DataLossError(absl::StrFormat(
        "%s: is damaged: its ids have checksum %016x, wanted %016x", path_,
        checksum, info_.checksum));
  }
  std::vector<int32_t> ids;
  uint64_t documents = 0;
  constexpr uint64_t kBlock = uint64_t{1} << 16;
  for (uint64_t begin = 0; begin < num_tokens(); begin += kBlock) {
    NW_RETURN_IF_ERROR(CheckStop());
    ids.resize(std::min(kBlock, num_tokens() - begin));
    Read(begin, absl::MakeSpan(ids));
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0 || ids[i] >= info_.vocabulary.size) {
        return absl::DataLossError(absl::StrCat(
            path_, ": token ", begin + i, " has id ", ids[i],
            ", outside the vocabulary of ", info_.vocabulary.size));
      }
    }
    documents +=
        std::count(ids.begin(), ids.end(), info_.vocabulary.end_of_text);
  }
  if (documents != info_.num_documents) {
    return absl::DataLossError(absl::StrCat(path_, ": has ", documents,
                                            " documents, wanted ",
                                            info_.num_documents));
  }
  if (!ids.empty() && ids.back() != info_.vocabulary.end_of_text) {
    return absl::DataLossError(absl::StrCat(
        path_, ": ends with token ", ids.back(), ", wanted the end of text, ",
        info_.vocabulary.end_of_text, ", behind the last document"));
  }
  return absl::OkStatus();
}

void TokenFile::Read(uint64_t begin, absl::Span<int32_t> out) const {
  NW_CHECK(begin <= num_tokens() && out.size() <= num_tokens() - begin)
      << path_ << ": tokens " << begin << " to " << begin + out.size() << " of "
      << num_tokens();
  const char* const from = Payload().data() + begin * info_.token_bytes;
  if (info_.token_bytes == 2) {
    Widen<uint16_t>(from, out);
  } else {
    Widen<int32_t>(from, out);
  }
}

absl::string_view TokenFile::Payload() const {
  return file_.bytes().substr(sizeof(Header));
}

}  // namespace nextword

#include "tools/corpus/inflate.h"

#include <zlib.h>

#include <algorithm>
#include <limits>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace nextword {
namespace {

constexpr size_t kChunk = size_t{1} << 16;
constexpr int kZlibOrGzip = 15 + 32;  // Largest window; the header decides.

}  // namespace

absl::StatusOr<std::string> Inflate(absl::string_view compressed,
                                    size_t max_size) {
  if (compressed.size() > std::numeric_limits<uInt>::max()) {
    return absl::InvalidArgumentError("compressed stream of 4 GiB or more");
  }
  z_stream stream = {};
  stream.next_in =
      reinterpret_cast<Bytef*>(const_cast<char*>(compressed.data()));
  stream.avail_in = static_cast<uInt>(compressed.size());
  if (inflateInit2(&stream, kZlibOrGzip) != Z_OK) {
    return absl::ResourceExhaustedError("zlib has no memory");
  }
  const auto end = absl::MakeCleanup([&stream] { inflateEnd(&stream); });

  std::string content;
  int code = Z_OK;
  while (code == Z_OK) {
    const size_t size = content.size();
    // One byte more than allowed tells a long stream from a full one.
    content.resize(size + std::min(kChunk, max_size + 1 - size));
    stream.next_out = reinterpret_cast<Bytef*>(&content[size]);
    stream.avail_out = static_cast<uInt>(content.size() - size);
    code = inflate(&stream, Z_NO_FLUSH);
    content.resize(content.size() - stream.avail_out);
    if (content.size() > max_size) {
      return absl::InvalidArgumentError(absl::StrCat(
          "compressed stream holds more than ", max_size, " bytes"));
    }
  }
  if (code != Z_STREAM_END || stream.avail_in != 0) {
    return absl::DataLossError(absl::StrCat(
        "compressed stream is damaged after ", content.size(), " bytes (",
        stream.msg != nullptr  ? stream.msg
        : code == Z_STREAM_END ? "bytes follow its end"
                               : "it ends early",
        ")"));
  }
  return content;
}

}  // namespace nextword

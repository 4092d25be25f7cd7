#include "autograd/base/file_hash.h"

#include <algorithm>
#include <string>

#include "autograd/base/hash.h"
#include "autograd/base/status.h"
#include "autograd/base/stop.h"

namespace nextword {
namespace {

// A piece stays in a core's cache between being read and being hashed.
constexpr size_t kPieceBytes = size_t{1} << 18;

}  // namespace

absl::StatusOr<uint64_t> HashFile(const FileReader& file) {
  StreamHash hash;
  std::string piece(kPieceBytes, '\0');
  for (uint64_t at = 0; at < file.size(); at += piece.size()) {
    NW_RETURN_IF_ERROR(CheckStop());
    piece.resize(std::min<uint64_t>(kPieceBytes, file.size() - at));
    NW_RETURN_IF_ERROR(file.Read(at, piece.size(), piece.data()));
    hash.Update(piece);
  }
  return hash.Digest();
}

}  // namespace nextword

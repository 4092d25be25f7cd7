#include "distributed/launcher/line_splitter.h"

#include <algorithm>

namespace nextword {
namespace {

// Where to cut `line`, which is too long: not within a character of UTF-8.
size_t PieceSize(absl::string_view line) {
  size_t size = LineSplitter::kMaxLine;
  while (size > LineSplitter::kMaxLine - 4 &&
         (static_cast<unsigned char>(line[size]) & 0xC0) == 0x80) {
    --size;
  }
  return size;
}

}  // namespace

void LineSplitter::Add(absl::string_view bytes, LineFunction f) {
  while (!bytes.empty()) {
    const size_t newline = bytes.find('\n');
    const bool ends = newline != absl::string_view::npos;
    // Never more in memory than a line and its end.
    const size_t n =
        std::min(ends ? newline : bytes.size(), kMaxLine + 1 - line_.size());
    line_.append(bytes.data(), n);
    bytes.remove_prefix(n);
    if (line_.size() > kMaxLine) {
      const size_t piece = PieceSize(line_);
      f(absl::string_view(line_).substr(0, piece));
      line_.erase(0, piece);
    } else if (ends && n == newline) {
      f(line_);
      line_.clear();
      bytes.remove_prefix(1);
    }
  }
}

void LineSplitter::Finish(LineFunction f) {
  if (!line_.empty()) f(line_);
  line_.clear();
}

}  // namespace nextword

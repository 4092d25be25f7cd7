#include "distributed/rendezvous/plain_text.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace nextword::rendezvous {
namespace {

uint8_t ByteAt(absl::string_view text, size_t i) {
  return static_cast<uint8_t>(text[i]);
}

// Bytes of the character at the start of `text`, which is not empty; 0 when it
// is none that may be shown.
size_t CharacterSize(absl::string_view text) {
  const uint8_t lead = ByteAt(text, 0);
  if (lead < 0x80) return lead < 0x20 || lead == 0x7f ? 0 : 1;
  const size_t size = lead >= 0xc2 && lead < 0xe0   ? 2
                      : lead >= 0xe0 && lead < 0xf0 ? 3
                      : lead >= 0xf0 && lead < 0xf5 ? 4
                                                    : 0;
  if (size == 0 || size > text.size()) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((ByteAt(text, i) & 0xc0) != 0x80) return 0;
  }
  const uint8_t second = ByteAt(text, 1);
  const bool bad = (lead == 0xc2 && second < 0xa0) ||   // C1 controls.
                   (lead == 0xe0 && second < 0xa0) ||   // Overlong.
                   (lead == 0xed && second >= 0xa0) ||  // Surrogates.
                   (lead == 0xf0 && second < 0x90) ||   // Overlong.
                   (lead == 0xf4 && second >= 0x90);    // Beyond U+10FFFF.
  return bad ? 0 : size;
}

bool IsBlank(char c) { return c == '\n' || c == '\r' || c == '\t'; }

}  // namespace

std::string PlainText(absl::string_view text, size_t max_bytes) {
  constexpr absl::string_view kCut = "...";
  const size_t room = max_bytes - std::min(max_bytes, kCut.size());
  std::string plain;
  size_t end_with_cut = 0;  // Of the longest part that leaves room for kCut.
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    if (plain.size() + std::max<size_t>(size, 1) > max_bytes) {
      plain.resize(end_with_cut);
      return absl::StrCat(plain, kCut);
    }
    if (size > 0) {
      plain.append(text.data(), size);
    } else {
      plain += IsBlank(text[0]) ? ' ' : '?';
    }
    text.remove_prefix(std::max<size_t>(size, 1));
    if (plain.size() <= room) end_with_cut = plain.size();
  }
  return plain;
}

std::string PlainDuration(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds >= 600) return absl::StrFormat("%.0f min", seconds / 60);
  if (seconds >= 9.95) return absl::StrFormat("%.0f s", seconds);
  return absl::StrFormat("%.2g s", seconds);
}

}  // namespace nextword::rendezvous

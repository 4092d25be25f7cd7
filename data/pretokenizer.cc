#include "data/pretokenizer.h"

#include <cstdint>
#include <cstring>
#include <memory>

#include "absl/strings/ascii.h"
#include "autograd/base/check.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace nextword {
namespace {

constexpr char kPattern[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+)"
    R"(|\s+(?!\S)|\s+)";

PCRE2_SPTR Units(absl::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

// The compiled pattern; lives as long as the process.
const pcre2_code* Pattern() {
  static const pcre2_code* const code = [] {
    int error = 0;
    PCRE2_SIZE position = 0;
    pcre2_code* compiled = pcre2_compile(
        reinterpret_cast<PCRE2_SPTR>(kPattern), PCRE2_ZERO_TERMINATED,
        PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &position, nullptr);
    NW_CHECK(compiled != nullptr) << "PCRE2 error " << error;
    // Where the system forbids code made at run time this fails, and
    // pcre2_match interprets the pattern: slower, with the same matches.
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
    return compiled;
  }();
  return code;
}

bool InRange(uint8_t byte, uint8_t low, uint8_t high) {
  return low <= byte && byte <= high;
}

// Bytes of the character that starts `text`, 0 when it is not valid UTF-8
// (Unicode standard, table 3-7).
size_t CharacterBytes(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = InRange(lead, 0xC2, 0xDF)   ? 2
                        : InRange(lead, 0xE0, 0xEF) ? 3
                        : InRange(lead, 0xF0, 0xF4) ? 4
                                                    : 0;
  if (length == 0 || text.size() < length) return 0;
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (!InRange(byte(1), low, high)) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (!InRange(byte(i), 0x80, 0xBF)) return 0;
  }
  return length;
}

// Bytes at the start of `text` that are valid UTF-8.
size_t ValidPrefix(absl::string_view text) {
  size_t end = 0;
  while (end < text.size()) {
    uint64_t eight;
    if (text.size() - end >= sizeof(eight)) {
      std::memcpy(&eight, text.data() + end, sizeof(eight));
      if ((eight & 0x8080808080808080) == 0) {
        end += sizeof(eight);
        continue;
      }
    }
    const size_t length = CharacterBytes(text.substr(end));
    if (length == 0) break;
    end += length;
  }
  return end;
}

// ForEachPiece for valid UTF-8.
void ForEachValidPiece(absl::string_view text, pcre2_match_data* match,
                       absl::FunctionRef<void(absl::string_view)> visit) {
  const PCRE2_SIZE* const bounds = pcre2_get_ovector_pointer(match);
  for (size_t begin = 0; begin < text.size(); begin = bounds[1]) {
    const int groups = pcre2_match(Pattern(), Units(text), text.size(), begin,
                                   PCRE2_NO_UTF_CHECK, match, nullptr);
    // The pattern matches at every character, so this is out of memory.
    NW_CHECK(groups > 0) << "PCRE2 error " << groups;
    visit(text.substr(begin, bounds[1] - begin));
  }
}

// Whether pieces left and right of `i` do not depend on each other. No piece
// has white space after another character, and only white space looks ahead,
// so that is before the white space that follows a visible character.
bool IsCut(absl::string_view text, size_t i) {
  return (text[i] == ' ' || text[i] == '\n') &&
         absl::ascii_isgraph(static_cast<unsigned char>(text[i - 1]));
}

}  // namespace

void ForEachPiece(absl::string_view text,
                  absl::FunctionRef<void(absl::string_view)> visit) {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>
      match(pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
  NW_CHECK(match != nullptr) << "out of memory";
  while (!text.empty()) {
    const size_t valid = ValidPrefix(text);
    ForEachValidPiece(text.substr(0, valid), match.get(), visit);
    text.remove_prefix(valid);
    if (text.empty()) break;
    visit(text.substr(0, 1));
    text.remove_prefix(1);
  }
}

std::vector<absl::string_view> CutAtPieces(absl::string_view text,
                                           size_t chunk_bytes) {
  NW_CHECK_GT(chunk_bytes, size_t{0});
  std::vector<absl::string_view> chunks;
  while (text.size() > chunk_bytes) {
    size_t cut = chunk_bytes;
    while (cut < text.size() && !IsCut(text, cut)) ++cut;
    chunks.push_back(text.substr(0, cut));
    text.remove_prefix(cut);
  }
  if (!text.empty()) chunks.push_back(text);
  return chunks;
}

}  // namespace nextword

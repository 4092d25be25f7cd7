// RWriter: bytes in R's serialization, for tests of its readers.
#ifndef NEXTWORD_TESTS_R_WRITER_H_
#define NEXTWORD_TESTS_R_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace nextword {

// Calls chain; str() is what was written so far.
class RWriter {
 public:
  static constexpr uint32_t kAscii = 0x40009;
  static constexpr uint32_t kUtf8 = 0x8009;
  static constexpr uint32_t kLatin1 = 0x4009;

  RWriter& Word(uint32_t word) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      bytes_.push_back(static_cast<char>(word >> shift & 0xFF));
    }
    return *this;
  }

  RWriter& Header(uint32_t version = 3) {
    bytes_ += "X\n";
    Word(version).Word(0x040201).Word(0x030500);
    return version == 3 ? Sized("UTF-8") : *this;
  }

  RWriter& String(absl::string_view text, uint32_t flags = kAscii) {
    return Word(flags).Sized(text);
  }

  RWriter& Strings(const std::vector<std::string>& strings,
                   uint32_t flags = kAscii) {
    Word(16).Word(static_cast<uint32_t>(strings.size()));
    for (const std::string& string : strings) String(string, flags);
    return *this;
  }

  RWriter& Integers(const std::vector<int32_t>& integers) {
    Word(13).Word(static_cast<uint32_t>(integers.size()));
    for (int32_t i : integers) Word(static_cast<uint32_t>(i));
    return *this;
  }

  // A list of `size` items that carries attributes; the items come next.
  RWriter& ListWithAttributes(uint32_t size) { return Word(0x213).Word(size); }

  // The attribute `names` and the end of attributes. R spells a symbol the
  // first time, as number 1 here, and refers to it afterwards.
  RWriter& Names(const std::vector<std::string>& names, bool first) {
    Word(0x402);
    first ? Word(1).String("names") : Word(0x1FF);
    return Strings(names).Null();
  }

  RWriter& Null() { return Word(254); }

  const std::string& str() const { return bytes_; }

 private:
  RWriter& Sized(absl::string_view text) {
    Word(static_cast<uint32_t>(text.size()));
    bytes_.append(text.data(), text.size());
    return *this;
  }

  std::string bytes_;
};

}  // namespace nextword

#endif  // NEXTWORD_TESTS_R_WRITER_H_

#include "tools/corpus/r_serialization.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"

namespace nextword {
namespace {

// Type codes, R's src/include/Rinternals.h and src/main/serialize.c.
constexpr int kSymbol = 1;
constexpr int kPairList = 2;
constexpr int kString = 9;  // One string, the element of kStrings.
constexpr int kLogicals = 10;
constexpr int kIntegers = 13;
constexpr int kStrings = 16;
constexpr int kList = 19;
constexpr int kNull = 254;
constexpr int kReference = 255;

// Bits of an item's flags.
constexpr uint32_t kHasAttributes = 1u << 9;
constexpr uint32_t kHasTag = 1u << 10;
constexpr uint32_t kLatin1 = 1u << (12 + 2);
constexpr uint32_t kUtf8 = 1u << (12 + 3);
constexpr uint32_t kAscii = 1u << (12 + 6);

constexpr int kMaxDepth = 16;

std::string Latin1ToUtf8(absl::string_view latin1) {
  std::string utf8;
  for (unsigned char c : latin1) {
    if (c < 0x80) {
      utf8.push_back(static_cast<char>(c));
    } else {
      utf8.push_back(static_cast<char>(0xC0 | (c >> 6)));
      utf8.push_back(static_cast<char>(0x80 | (c & 0x3F)));
    }
  }
  return utf8;
}

class Parser {
 public:
  explicit Parser(absl::string_view bytes) : bytes_(bytes) {}

  absl::StatusOr<RValue> Parse() {
    NW_RETURN_IF_ERROR(ParseHeader());
    NW_ASSIGN_OR_RETURN(RValue value, ParseItem(0));
    if (remaining() != 0) {
      return Error(absl::StrCat(remaining(), " bytes follow the value"));
    }
    return value;
  }

 private:
  size_t remaining() const { return bytes_.size() - position_; }

  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("R serialization, byte ", position_, ": ", what));
  }

  absl::StatusOr<absl::string_view> ReadBytes(int64_t size) {
    if (size < 0 || static_cast<uint64_t>(size) > remaining()) {
      return Error(
          absl::StrCat("wants ", size, " more bytes, there are ", remaining()));
    }
    absl::string_view result = bytes_.substr(position_, size);
    position_ += size;
    return result;
  }

  absl::StatusOr<uint32_t> ReadWord() {
    NW_ASSIGN_OR_RETURN(absl::string_view word, ReadBytes(4));
    uint32_t value = 0;
    for (unsigned char c : word) value = value << 8 | c;
    return value;
  }

  // A number of elements, each of which takes `element_size` bytes or more.
  absl::StatusOr<int64_t> ReadCount(int element_size) {
    NW_ASSIGN_OR_RETURN(uint32_t word, ReadWord());
    const int64_t count = static_cast<int32_t>(word);
    if (count < 0 || count * element_size > static_cast<int64_t>(remaining())) {
      return Error(absl::StrCat("a vector of ", count, " elements in ",
                                remaining(), " bytes"));
    }
    return count;
  }

  absl::Status ParseHeader() {
    NW_ASSIGN_OR_RETURN(absl::string_view format, ReadBytes(2));
    if (format != "X\n") return Error("not in the XDR form (wanted \"X\\n\")");
    NW_ASSIGN_OR_RETURN(uint32_t version, ReadWord());
    if (version != 2 && version != 3) {
      return Error(absl::StrCat("version ", version, ", wanted 2 or 3"));
    }
    NW_RETURN_IF_ERROR(ReadBytes(8).status());  // R's own versions.
    if (version == 3) {
      // The writer's encoding; each string says its own.
      NW_ASSIGN_OR_RETURN(uint32_t size, ReadWord());
      NW_RETURN_IF_ERROR(ReadBytes(size).status());
    }
    return absl::OkStatus();
  }

  absl::StatusOr<RValue> ParseItem(int depth) {
    if (depth > kMaxDepth) return Error("nested too deeply");
    NW_ASSIGN_OR_RETURN(const uint32_t flags, ReadWord());
    RValue value;
    switch (flags & 0xFF) {
      case kNull:
        return value;
      case kLogicals:
      case kIntegers: {
        NW_ASSIGN_OR_RETURN(value.data, ParseIntegers());
        break;
      }
      case kStrings: {
        NW_ASSIGN_OR_RETURN(value.data, ParseStrings());
        break;
      }
      case kList: {
        NW_ASSIGN_OR_RETURN(value.data, ParseList(depth));
        break;
      }
      default:
        return Error(absl::StrCat("type ", flags & 0xFF,
                                  "; wanted NULL, integers, logicals, strings "
                                  "or a list"));
    }
    if (flags & kHasAttributes) {
      NW_ASSIGN_OR_RETURN(value.names, ParseAttributes(depth));
    }
    return value;
  }

  absl::StatusOr<RValue::Integers> ParseIntegers() {
    NW_ASSIGN_OR_RETURN(const int64_t count, ReadCount(4));
    RValue::Integers integers;
    for (int64_t i = 0; i < count; ++i) {
      NW_ASSIGN_OR_RETURN(uint32_t word, ReadWord());
      integers.push_back(static_cast<int32_t>(word));
    }
    return integers;
  }

  absl::StatusOr<RValue::Strings> ParseStrings() {
    NW_ASSIGN_OR_RETURN(const int64_t count, ReadCount(8));
    RValue::Strings strings;
    for (int64_t i = 0; i < count; ++i) {
      NW_ASSIGN_OR_RETURN(std::string string, ParseString());
      strings.push_back(std::move(string));
    }
    return strings;
  }

  absl::StatusOr<RValue::List> ParseList(int depth) {
    NW_ASSIGN_OR_RETURN(const int64_t count, ReadCount(4));
    RValue::List list;
    for (int64_t i = 0; i < count; ++i) {
      NW_ASSIGN_OR_RETURN(RValue item, ParseItem(depth + 1));
      list.push_back(std::move(item));
    }
    return list;
  }

  absl::StatusOr<std::string> ParseString() {
    NW_ASSIGN_OR_RETURN(const uint32_t flags, ReadWord());
    if ((flags & 0xFF) != kString) {
      return Error(absl::StrCat("type ", flags & 0xFF, ", wanted a string"));
    }
    NW_ASSIGN_OR_RETURN(const uint32_t size, ReadWord());
    if (size == 0xFFFFFFFF) return Error("a missing string (NA)");
    NW_ASSIGN_OR_RETURN(absl::string_view bytes, ReadBytes(size));
    if (flags & kLatin1) return Latin1ToUtf8(bytes);
    if (flags & (kUtf8 | kAscii)) return std::string(bytes);
    return Error("a string neither in UTF-8 nor in Latin-1");
  }

  // A pair list of tagged values up to its NULL; returns the one named names.
  absl::StatusOr<RValue::Strings> ParseAttributes(int depth) {
    RValue::Strings names;
    while (true) {
      NW_ASSIGN_OR_RETURN(const uint32_t flags, ReadWord());
      if ((flags & 0xFF) == kNull) return names;
      if ((flags & 0xFF) != kPairList || !(flags & kHasTag) ||
          (flags & kHasAttributes)) {
        return Error(absl::StrCat("attributes with flags ", flags,
                                  ", wanted a plain list of tagged values"));
      }
      NW_ASSIGN_OR_RETURN(const std::string tag, ParseSymbol());
      NW_ASSIGN_OR_RETURN(RValue value, ParseItem(depth + 1));
      if (tag != "names") continue;
      auto* strings = std::get_if<RValue::Strings>(&value.data);
      if (strings == nullptr) return Error("names that are not strings");
      names = std::move(*strings);
    }
  }

  // A symbol is spelled once; later uses refer to it by number, from 1.
  absl::StatusOr<std::string> ParseSymbol() {
    NW_ASSIGN_OR_RETURN(const uint32_t flags, ReadWord());
    if ((flags & 0xFF) == kSymbol) {
      NW_ASSIGN_OR_RETURN(std::string symbol, ParseString());
      symbols_.push_back(symbol);
      return symbol;
    }
    if ((flags & 0xFF) != kReference) {
      return Error(absl::StrCat("type ", flags & 0xFF, ", wanted a symbol"));
    }
    uint32_t number = flags >> 8;
    if (number == 0) {
      NW_ASSIGN_OR_RETURN(number, ReadWord());
    }
    if (number == 0 || number > symbols_.size()) {
      return Error(absl::StrCat("reference to symbol ", number, " of ",
                                symbols_.size()));
    }
    return symbols_[number - 1];
  }

  absl::string_view bytes_;
  size_t position_ = 0;
  std::vector<std::string> symbols_;
};

}  // namespace

absl::StatusOr<RValue> ParseRSerialization(absl::string_view bytes) {
  return Parser(bytes).Parse();
}

}  // namespace nextword

#include "tools/commands/quantity.h"

#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace nextword {

std::string WithCommas(int64_t value) {
  if (value < 1000) return absl::StrCat(value);
  return absl::StrFormat("%s,%03d", WithCommas(value / 1000), value % 1000);
}

std::string Scaled(double value, absl::string_view unit) {
  static constexpr const char* kPrefixes[] = {"",  "k", "M", "G",
                                              "T", "P", "E", "Z"};
  size_t i = 0;
  while (value >= 1000 && i + 1 < std::size(kPrefixes)) {
    value /= 1000;
    ++i;
  }
  return absl::StrFormat("%.2f %s%s", value, kPrefixes[i], unit);
}

std::string Seconds(double seconds) {
  if (seconds < 1e-3) return absl::StrFormat("%.1f us", 1e6 * seconds);
  if (seconds < 1) return absl::StrFormat("%.2f ms", 1e3 * seconds);
  return absl::StrFormat("%.2f s", seconds);
}

std::string Percent(double share) {
  return absl::StrFormat("%.1f%%", 100 * share);
}

}  // namespace nextword

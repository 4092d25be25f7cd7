#include "tools/commands/table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace nextword {

std::string Table::Text() const {
  std::vector<size_t> widths(rows_[0].size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      if (i == 0) {
        absl::StrAppend(&text, row[i], row.size() > 1 ? padding : "");
      } else {
        absl::StrAppend(&text, "  ", padding, row[i]);
      }
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

}  // namespace nextword

#include "configs/config_errors.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace nextword {

void ConfigErrors::Add(absl::string_view where, absl::string_view what) {
  lines_.push_back(absl::StrCat(where, ": ", what));
}

absl::Status ConfigErrors::ToStatus() const {
  if (lines_.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(lines_, "\n"));
}

}  // namespace nextword

#include "configs/field_checks.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "configs/field.h"

namespace nextword {

void FieldChecks::Fail(absl::string_view name, absl::string_view what) {
  errors_->Add(JoinPath(path_, name), what);
}

bool FieldChecks::AtLeast(absl::string_view name, int64_t value,
                          int64_t least) {
  if (value >= least) return true;
  Fail(name, absl::StrCat("is ", value, ", wanted at least ", least));
  return false;
}

bool FieldChecks::Positive(absl::string_view name, double value) {
  return Check(value > 0, name, value, "a number above 0");
}

bool FieldChecks::NotNegative(absl::string_view name, double value) {
  return Check(value >= 0, name, value, "a number not below 0");
}

bool FieldChecks::Share(absl::string_view name, double value) {
  return Check(value >= 0 && value <= 1, name, value, "0 to 1");
}

bool FieldChecks::ShareBelowOne(absl::string_view name, double value) {
  return Check(value >= 0 && value < 1, name, value, "0 to 1, and less than 1");
}

bool FieldChecks::ShareAboveZero(absl::string_view name, double value) {
  return Check(value > 0 && value <= 1, name, value, "0 to 1, and more than 0");
}

bool FieldChecks::Check(bool fine, absl::string_view name, double value,
                        absl::string_view wanted) {
  if (fine && std::isfinite(value)) return true;
  Fail(name, absl::StrCat("is ", value, ", wanted ", wanted));
  return false;
}

}  // namespace nextword

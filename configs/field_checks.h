// Checks of single fields that tell field, value seen and value wanted.
// Errors go to a ConfigErrors that the caller owns; not thread-safe.
#ifndef NEXTWORD_CONFIGS_FIELD_CHECKS_H_
#define NEXTWORD_CONFIGS_FIELD_CHECKS_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "configs/config_errors.h"

namespace nextword {

// Names given to the member functions are fields of the message at `path`.
// Every check of a double fails for NaN and for infinities.
class FieldChecks {
 public:
  FieldChecks(std::string path, ConfigErrors* errors)
      : path_(std::move(path)), errors_(errors) {}

  void Fail(absl::string_view name, absl::string_view what);

  // These return whether the value was fine.
  bool AtLeast(absl::string_view name, int64_t value, int64_t least);
  bool Positive(absl::string_view name, double value);
  bool NotNegative(absl::string_view name, double value);
  // In [0, 1], [0, 1) and (0, 1].
  bool Share(absl::string_view name, double value);
  bool ShareBelowOne(absl::string_view name, double value);
  bool ShareAboveZero(absl::string_view name, double value);

 private:
  bool Check(bool fine, absl::string_view name, double value,
             absl::string_view wanted);

  std::string path_;
  ConfigErrors* errors_;
};

}  // namespace nextword

#endif  // NEXTWORD_CONFIGS_FIELD_CHECKS_H_

// All errors of one config, collected so that a user can fix them in one go.
// A plain value; not thread-safe.
#ifndef NEXTWORD_CONFIGS_CONFIG_ERRORS_H_
#define NEXTWORD_CONFIGS_CONFIG_ERRORS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace nextword {

class ConfigErrors {
 public:
  // `where` is a field's path, a file's line, or both: "model.layers".
  void Add(absl::string_view where, absl::string_view what);

  bool empty() const { return lines_.empty(); }

  // InvalidArgument with one line "WHERE: WHAT" per error; OK without errors.
  absl::Status ToStatus() const;

 private:
  std::vector<std::string> lines_;
};

}  // namespace nextword

#endif  // NEXTWORD_CONFIGS_CONFIG_ERRORS_H_

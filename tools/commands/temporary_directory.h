// A folder that goes when the scope ends.
#ifndef NEXTWORD_TOOLS_COMMANDS_TEMPORARY_DIRECTORY_H_
#define NEXTWORD_TOOLS_COMMANDS_TEMPORARY_DIRECTORY_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace nextword {

// Move-only. With all that is in it.
class TemporaryDirectory {
 public:
  // In the system's place for such, under a name of its own.
  static absl::StatusOr<TemporaryDirectory> Create();
  TemporaryDirectory(TemporaryDirectory&& other) noexcept
      : path_(std::exchange(other.path_, "")) {}
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory();

  const std::string& path() const { return path_; }

 private:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}

  std::string path_;
};

}  // namespace nextword

#endif  // NEXTWORD_TOOLS_COMMANDS_TEMPORARY_DIRECTORY_H_

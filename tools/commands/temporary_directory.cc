#include "tools/commands/temporary_directory.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "autograd/base/file.h"

namespace nextword {

absl::StatusOr<TemporaryDirectory> TemporaryDirectory::Create() {
  std::error_code error;
  std::string path =
      (std::filesystem::temp_directory_path(error) / "nextword.XXXXXX")
          .string();
  if (error || mkdtemp(path.data()) == nullptr) {
    return FileError(path, "create");
  }
  return TemporaryDirectory(std::move(path));
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace nextword

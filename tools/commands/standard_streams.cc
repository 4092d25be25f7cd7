#include "tools/commands/standard_streams.h"

#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "autograd/base/file.h"

namespace nextword {

absl::Status WriteStandardOutput(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return FileError("standard output", "write");
    }
    bytes.remove_prefix(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadStandardInput() {
  constexpr size_t kBlock = size_t{1} << 16;
  std::string text;
  for (;;) {
    const size_t size = text.size();
    text.resize(size + kBlock);
    const ssize_t n = read(STDIN_FILENO, text.data() + size, kBlock);
    text.resize(size + (n > 0 ? n : 0));
    if (n == 0) return text;
    if (n < 0 && errno != EINTR) return FileError("standard input", "read");
  }
}

absl::StatusOr<std::string> ReadFileOrStandardInput(const std::string& path) {
  return path == "-" ? ReadStandardInput() : ReadFile(path);
}

}  // namespace nextword

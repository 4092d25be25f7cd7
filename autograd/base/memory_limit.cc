#include "autograd/base/memory_limit.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace nextword {
namespace {

// The number that a file holds; none for "max", or without such a file.
std::optional<int64_t> NumberIn(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  int64_t number = 0;
  file >> text;
  if (!absl::SimpleAtoi(text, &number)) return std::nullopt;
  return number;
}

// The least limit in `file` of the group `path` under `mount` and of those
// around it. In a container a group may be mounted as the root itself.
std::optional<int64_t> LeastLimit(const std::string& mount, std::string path,
                                  const std::string& file) {
  std::optional<int64_t> least;
  for (;;) {
    const auto limit = NumberIn(absl::StrCat(mount, path, "/", file));
    if (limit.has_value()) least = std::min(*limit, least.value_or(*limit));
    if (path.empty()) return least;
    path.resize(path.rfind('/'));
  }
}

}  // namespace

std::optional<int64_t> MemoryLimit(const std::string& groups,
                                   const std::string& root) {
  std::optional<int64_t> least;
  std::ifstream file(groups);
  for (std::string line; std::getline(file, line);) {
    // "0::/path" of version 2, "4:memory,hugetlb:/path" of version 1.
    const std::vector<std::string> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3 || !absl::StartsWith(parts[2], "/")) continue;
    const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
    const std::string path = parts[2] == "/" ? "" : parts[2];
    std::optional<int64_t> limit;
    if (parts[1].empty()) {
      limit = LeastLimit(root, path, "memory.max");
    } else if (std::count(controllers.begin(), controllers.end(), "memory")) {
      limit = LeastLimit(absl::StrCat(root, "/memory"), path,
                         "memory.limit_in_bytes");
    }
    if (limit.has_value()) least = std::min(*limit, least.value_or(*limit));
  }
  return least;
}

}  // namespace nextword

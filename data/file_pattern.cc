#include "data/file_pattern.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"

namespace nextword {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<std::vector<std::string>> NamesIn(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  while (!error && entry != fs::directory_iterator()) {
    names.push_back(entry->path().filename().string());
    entry.increment(error);
  }
  if (error) {
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat(folder.string(), ": cannot read"));
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<std::vector<std::string>> Expand(const std::string& pattern) {
  const fs::path path(pattern);
  const std::string last = path.filename().string();
  const fs::path folder = path.parent_path();
  if (absl::StrContains(folder.string(), '*')) {
    return absl::InvalidArgumentError(
        absl::StrCat(pattern, ": `*` may stand in the last part only"));
  }
  if (!absl::StrContains(last, '*')) return std::vector<std::string>{pattern};
  NW_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                      NamesIn(folder.empty() ? "." : folder));
  std::vector<std::string> matches;
  for (const std::string& name : names) {
    if (name[0] == '.' && last[0] != '.') continue;
    if (MatchesPattern(name, last)) matches.push_back((folder / name).string());
  }
  if (matches.empty()) {
    return absl::NotFoundError(absl::StrCat(pattern, ": matches no file"));
  }
  return matches;
}

}  // namespace

bool MatchesPattern(absl::string_view name, absl::string_view pattern) {
  // Where to go on when a match fails: the last `*`, taking one byte more.
  size_t star = absl::string_view::npos;
  size_t star_end = 0;
  size_t n = 0;
  size_t p = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_end = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != absl::string_view::npos) {
      p = star + 1;
      n = ++star_end;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == absl::string_view::npos;
}

absl::StatusOr<std::vector<std::string>> ExpandPatterns(
    const std::vector<std::string>& patterns) {
  std::vector<std::string> files;
  absl::flat_hash_set<std::string> seen;
  for (const std::string& pattern : patterns) {
    NW_ASSIGN_OR_RETURN(const std::vector<std::string> matches,
                        Expand(pattern));
    for (const std::string& file : matches) {
      std::error_code error;
      // Of a file that does not exist, the path; opening it will say so.
      const fs::path identity = fs::weakly_canonical(file, error);
      if (seen.insert(error ? file : identity.string()).second) {
        files.push_back(file);
      }
    }
  }
  return files;
}

}  // namespace nextword

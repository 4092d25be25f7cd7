#include "distributed/launcher/slurm.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace nextword {

absl::StatusOr<std::string> FirstHost(absl::string_view list) {
  const absl::Status unreadable = absl::InvalidArgumentError(absl::StrCat(
      "is \"", list, "\", wanted names such as node7,node8 or node[7-9,12]"));
  std::string host;
  // A name may have several brackets: rack[1-2]node[03-09].
  for (size_t i = 0; i < list.size() && list[i] != ','; ++i) {
    if (list[i] != '[') {
      if (!absl::ascii_isgraph(list[i]) || list[i] == ']') return unreadable;
      host += list[i];
      continue;
    }
    const size_t end = list.find(']', i);
    if (end == absl::string_view::npos) return unreadable;
    const absl::string_view numbers = list.substr(i + 1, end - i - 1);
    const absl::string_view first =
        numbers.substr(0, numbers.find_first_of("-,"));
    if (first.empty()) return unreadable;
    for (const char c : first) {
      if (!absl::ascii_isdigit(c)) return unreadable;
    }
    absl::StrAppend(&host, first);
    i = end;
  }
  if (host.empty()) return unreadable;
  return host;
}

}  // namespace nextword

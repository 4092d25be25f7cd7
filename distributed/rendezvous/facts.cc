#include "distributed/rendezvous/facts.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "distributed/rendezvous/plain_text.h"

namespace nextword::rendezvous {
namespace {

// A value that some ranks have; nothing when they lack the fact.
struct Camp {
  std::optional<std::string> value;
  std::vector<int> ranks;
};

// The values of `name`, those that most ranks have first.
std::vector<Camp> CampsOver(const std::string& name, const Members& members) {
  std::map<std::optional<std::string>, std::vector<int>> ranks_of;
  for (const auto& [rank, member] : members) {
    const auto fact = member.facts.find(name);
    ranks_of[fact == member.facts.end() ? std::nullopt
                                        : std::make_optional(fact->second)]
        .push_back(rank);
  }
  std::vector<Camp> camps;
  for (auto& [value, ranks] : ranks_of) camps.push_back({value, ranks});
  std::stable_sort(camps.begin(), camps.end(),
                   [](const Camp& a, const Camp& b) {
                     if (a.ranks.size() != b.ranks.size()) {
                       return a.ranks.size() > b.ranks.size();
                     }
                     return a.ranks[0] < b.ranks[0];
                   });
  return camps;
}

std::string Shown(const Camp& camp) {
  if (!camp.value.has_value()) return "unknown";
  if (camp.value->empty()) return "''";
  return PlainText(*camp.value, 160);
}

// "rank 1", "ranks 0, 2 and 7 more".
std::string Ranks(const std::vector<int>& ranks) {
  constexpr size_t kMost = 8;
  if (ranks.size() == 1) return absl::StrCat("rank ", ranks[0]);
  const size_t told = std::min(ranks.size(), kMost);
  std::string text = absl::StrCat(
      "ranks ", absl::StrJoin(ranks.begin(), ranks.begin() + told, ", "));
  if (told < ranks.size()) {
    absl::StrAppend(&text, " and ", ranks.size() - told, " more");
  }
  return text;
}

std::string SentenceOf(const std::string& name, const std::vector<Camp>& camps,
                       const Members& members) {
  const Camp& odd = camps.back();
  if (camps.size() == 2 && odd.ranks.size() == 1 && camps[0].ranks.size() > 1) {
    return absl::StrCat(NameOf(members.at(odd.ranks[0])), ": ", name, " is ",
                        Shown(odd), ", the other ", camps[0].ranks.size(),
                        " ranks have ", Shown(camps[0]));
  }
  constexpr size_t kMost = 4;
  std::vector<std::string> parts;
  for (const Camp& camp : camps) {
    if (parts.size() == kMost) {
      parts.push_back("and so on");
      break;
    }
    const bool one = camp.ranks.size() == 1;
    parts.push_back(absl::StrCat(
        one ? NameOf(members.at(camp.ranks[0])) : Ranks(camp.ranks),
        one ? " has " : " have ", Shown(camp)));
  }
  return absl::StrCat(name, " differs: ", absl::StrJoin(parts, ", "));
}

}  // namespace

absl::Status CheckFacts(const Members& members) {
  std::set<std::string> names;
  for (const auto& [rank, member] : members) {
    for (const auto& [name, value] : member.facts) names.insert(name);
  }
  for (const std::string& name : names) {
    const std::vector<Camp> camps = CampsOver(name, members);
    if (camps.size() > 1) {
      return absl::FailedPreconditionError(
          SentenceOf(PlainText(name, 64), camps, members));
    }
  }
  return absl::OkStatus();
}

}  // namespace nextword::rendezvous

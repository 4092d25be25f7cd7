#include "distributed/rendezvous/abort_sentence.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "distributed/rendezvous/plain_text.h"

namespace nextword::rendezvous {
namespace {

constexpr int64_t kNoStep = std::numeric_limits<int64_t>::min();

// After "is": " in backward of step 12"; "" when nothing is known. The step is
// left out when it is `known_step`.
std::string Where(const Member::Doing& doing, int64_t known_step = kNoStep) {
  const std::string step = doing.step >= 0 && doing.step != known_step
                               ? absl::StrCat("step ", doing.step)
                               : "";
  if (doing.phase.empty()) return step.empty() ? "" : " in " + step;
  std::string where = absl::StrCat(" in ", doing.phase);
  if (!doing.detail.empty() && doing.waits_for_others) {
    absl::StrAppend(&where, " of ", doing.detail);
  } else if (!doing.detail.empty()) {
    absl::StrAppend(&where, " (", doing.detail, ")");
  }
  if (!step.empty()) {
    const bool of_taken = !doing.detail.empty() && doing.waits_for_others;
    absl::StrAppend(&where, of_taken ? ", " : " of ", step);
  }
  return where;
}

// A few ranks as one subject, and what they do: "wait in ...", "waits in ...".
struct Group {
  std::vector<int> ranks;
  std::string one, many;
};

Group Alike(const Member& member, const Member& culprit, absl::Time now) {
  if (member.presence == Member::Presence::kLeft) {
    return {{}, "has left", "have left"};
  }
  if (member.presence == Member::Presence::kGone) {
    return {{}, "has ended, too", "have ended, too"};
  }
  // An estimate, lest a cut cable is blamed on a rank behind it alone.
  const absl::Duration silence = now - member.last_sign;
  if (silence > absl::Seconds(3) &&
      silence * 2 > now - std::min(culprit.last_sign, now)) {
    return {{}, "is silent, too", "are silent, too"};
  }
  const std::string where = Where(member.doing, culprit.doing.step);
  if (member.doing.waits_for_others) {
    return {{}, "waits" + where, "wait" + where};
  }
  if (!where.empty()) return {{}, "is" + where, "are" + where};
  if (member.doing.step >= 0) {
    return {{}, "is in the same step", "are in the same step"};
  }
  return {{}, "is here", "are here"};
}

std::string Subject(const Group& group) {
  return group.ranks.size() == 1
             ? absl::StrCat("rank ", group.ranks[0], " ", group.one)
             : absl::StrCat(group.ranks.size(), " ranks ", group.many);
}

// "; the other 7 ranks wait in all-reduce of bucket 2", "" without others.
std::string Others(const Members& members, const Member& culprit,
                   absl::Time now) {
  std::vector<Group> groups;
  for (const auto& [rank, member] : members) {
    if (rank == culprit.rank) continue;
    Group alike = Alike(member, culprit, now);
    const auto known =
        std::find_if(groups.begin(), groups.end(),
                     [&](const Group& g) { return g.many == alike.many; });
    Group& group =
        known == groups.end() ? groups.emplace_back(std::move(alike)) : *known;
    group.ranks.push_back(rank);
  }
  if (groups.empty()) return "";
  const size_t others = members.size() - 1;
  if (groups.size() == 1) {
    return others == 1 ? absl::StrCat("; ", Subject(groups[0]))
                       : absl::StrCat("; the other ", others, " ranks ",
                                      groups[0].many);
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [](const Group& a, const Group& b) {
                     return a.ranks.size() > b.ranks.size();
                   });
  std::vector<std::string> subjects;
  size_t told = 0;
  for (const Group& group : groups) {
    if (subjects.size() == 3) break;
    subjects.push_back(Subject(group));
    told += group.ranks.size();
  }
  if (told < others) {
    const size_t rest = others - told;
    subjects.push_back(absl::StrCat(
        rest, rest == 1 ? " rank does" : " ranks do", " something else"));
  }
  return absl::StrCat("; ", absl::StrJoin(subjects, ", "));
}

std::string NameWithPid(const Member& member) {
  return absl::StrCat(NameOf(member), " (pid ", member.pid, ")");
}

}  // namespace

std::string NameOf(const Member& member) {
  return absl::StrCat("rank ", member.rank, " on ", member.host);
}

std::string SentenceOfTrouble(const Members& members, const Member& culprit,
                              absl::Time now) {
  if (culprit.failure.has_value()) {
    return absl::StrCat(NameOf(culprit), ": ", *culprit.failure);
  }
  const std::string others = Others(members, culprit, now);
  const std::string where = Where(culprit.doing);
  if (culprit.report.has_value()) {
    return absl::StrCat(NameWithPid(culprit), " ended", where, ": ",
                        *culprit.report, others);
  }
  return absl::StrCat(NameWithPid(culprit), " ended without a word", where,
                      others);
}

std::string SentenceOfSilence(const Members& members, const Member& culprit,
                              absl::Time now) {
  const std::string where = Where(culprit.doing);
  return absl::StrCat(NameOf(culprit), " has sent no sign of life for ",
                      PlainDuration(now - culprit.last_sign),
                      where.empty() ? "" : ", last", where,
                      Others(members, culprit, now));
}

std::string SentenceOfDeadline(const Members& members, const Member& culprit,
                               absl::Time now) {
  const std::string where = Where(culprit.doing);
  return absl::StrCat(NameOf(culprit), " has been",
                      where.empty() ? " in no named phase" : where, " for ",
                      PlainDuration(culprit.doing.duration),
                      Others(members, culprit, now));
}

const Member& WhoHoldsUp(const Members& members, const Member& late) {
  if (!late.doing.waits_for_others) return late;
  // Less is more to blame.
  const auto blame = [&members](const Member& member) {
    int64_t alike = 0;
    if (member.doing.waits_for_others) {
      for (const auto& [rank, other] : members) {
        alike += other.presence == Member::Presence::kHere &&
                 other.doing == member.doing;
      }
    }
    return std::make_tuple(member.doing.waits_for_others, member.doing.step,
                           alike, -member.doing.duration, member.rank);
  };
  const Member* culprit = &late;
  for (const auto& [rank, member] : members) {
    if (member.presence == Member::Presence::kHere &&
        blame(member) < blame(*culprit)) {
      culprit = &member;
    }
  }
  return *culprit;
}

}  // namespace nextword::rendezvous

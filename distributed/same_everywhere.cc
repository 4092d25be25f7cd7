#include "distributed/same_everywhere.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "autograd/base/hash.h"
#include "autograd/base/status.h"
#include "distributed/rendezvous/activity.h"

namespace nextword {

absl::Status CheckSame(const char* what, uint64_t fingerprint,
                       Communicator* communicator) {
  const ActivityScope activity("comparison", what,
                               ActivityKind::kWaitsForOthers);
  const Tensor mine = Empty({2}, DType::kI32);
  std::memcpy(mine.raw_data(), &fingerprint, sizeof fingerprint);
  const Tensor all = Empty({communicator->world_size(), 2}, DType::kI32);
  NW_RETURN_IF_ERROR(communicator->Gather(mine, all, what).Wait());
  std::map<uint64_t, std::vector<int>> ranks_of;
  for (int rank = 0; rank < communicator->world_size(); ++rank) {
    uint64_t seen;
    std::memcpy(&seen, all.data<int32_t>() + 2 * rank, sizeof seen);
    ranks_of[seen].push_back(rank);
  }
  if (ranks_of.size() == 1) return absl::OkStatus();
  std::vector<std::pair<uint64_t, std::vector<int>>> groups(ranks_of.begin(),
                                                            ranks_of.end());
  std::stable_sort(groups.begin(), groups.end(),
                   [](const auto& a, const auto& b) {
                     return a.second.size() > b.second.size();
                   });
  std::string differences;
  for (const auto& [seen, ranks] : groups) {
    absl::StrAppend(&differences, differences.empty() ? "" : "; ",
                    absl::StrFormat("%016x", seen),
                    ranks.size() == 1 ? " on rank " : " on ranks ",
                    absl::StrJoin(ranks, ", "));
  }
  return absl::AbortedError(
      absl::StrCat(what, ": is not the same on all ranks: its fingerprint is ",
                   differences));
}

absl::Status Share(const char* what, std::string* bytes,
                   Communicator* communicator) {
  const ActivityScope activity("broadcast", what,
                               ActivityKind::kWaitsForOthers);
  const Tensor size = Empty({1}, DType::kI32);
  *size.data<int32_t>() = static_cast<int32_t>(bytes->size());
  NW_RETURN_IF_ERROR(communicator->Broadcast(size, 0, what).Wait());
  bytes->resize(*size.data<int32_t>());
  if (bytes->empty()) return absl::OkStatus();
  // In whole numbers, which is what communicators carry.
  const int64_t words = (std::ssize(*bytes) + 3) / 4;
  const Tensor text = Empty({words}, DType::kI32);
  std::memcpy(text.raw_data(), bytes->data(), bytes->size());
  NW_RETURN_IF_ERROR(communicator->Broadcast(text, 0, what).Wait());
  std::memcpy(bytes->data(), text.raw_data(), bytes->size());
  return absl::OkStatus();
}

uint64_t HashOf(const Tensor& tensor) {
  const Tensor here = ToDevice(tensor, Device::Cpu());
  return Hash64({static_cast<const char*>(here.raw_data()),
                 static_cast<size_t>(here.size_bytes())});
}

}  // namespace nextword
